"""The prediction of a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from medzoo.errors import UserError
from medzoo.results.result import Result
from medzoo.types import Array, Image


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Classification(Result):
    """One label for an image, or for a mass in it.

    `probabilities`: of every label of the model. `label_set`: the labels that cannot be ruled out if such sets are to
    hold the true label with probability `coverage` (a conformal set); None where the model makes none.
    Of a model that measures a mass: `mask` (*spatial) bool, its outline on the source's grid; `outline`, whether that
    was given, found or drawn from a box; `features`, the measurements by name; `contributions`, what each of them adds
    to the log-odds of the last label.
    """

    task: str = "classify"
    image: Image | None = None
    label: str
    probabilities: Mapping[str, float]
    label_set: Sequence[str] | None = None
    coverage: float | None = None
    outline: Literal["given", "found", "box"] | None = None
    mask: Array | None = None
    features: Mapping[str, float] | None = None
    contributions: Mapping[str, float] | None = None

    @property
    def sure(self) -> bool | None:
        """True if the conformal set holds exactly one label; None where the model makes no sets."""
        return None if self.label_set is None else len(self.label_set) == 1

    def _summary(self) -> str:
        probability = self.probabilities.get(self.label)
        words = self.label if probability is None else f"{self.label} {probability:.2f}"
        return words if self._conformal_words is None else f"{words}, {self._conformal_words}"

    @property
    def _conformal_words(self) -> str | None:
        """The conformal set in words where it is not the one label."""
        if self.label_set is None or self.sure:
            return None
        return f"not sure: {' or '.join(self.label_set) or 'none fits'}"

    def to_dict(self) -> dict[str, Any]:
        """The object of `predict --json`.

        >>> result = medzoo.load("breast-ultrasound-cnn").predict("phantom.png")
        >>> sorted(result.to_dict()["probabilities"])
        ['benign', 'malignant', 'normal']
        """
        document = super().to_dict() | {
            "label": self.label,
            "probabilities": {k: round(float(p), 6) for k, p in self.probabilities.items()},
        }
        if self.outline is not None:
            document["outline"] = self.outline
        if self.features is not None:
            document["features"] = {k: float(f"{v:.7g}") for k, v in self.features.items()}
        if self.contributions is not None:
            document["contributions"] = {k: round(float(v), 4) for k, v in self.contributions.items()}
        if self.label_set is not None:
            document |= {"label_set": list(self.label_set), "coverage": self.coverage, "sure": self.sure}
        return document

    def plot(self, path: str | Path, **options: Any) -> Path:
        """Draw the image with its label as PNG; returns the path. Raises UserError.

        A measured mass is drawn with its outline (`harmonics=k`: as rebuilt from k Fourier descriptors) and the
        contributions of its features.
        """
        self._refuse_sources(path)
        if self.image is None:
            raise UserError("cannot be drawn: the image was not kept with this result", self.input)
        doubt = f", {self._conformal_words}" if self._conformal_words else ""
        title = options.pop("title", f"{self.model}: {self.label}{doubt}{self._strangeness}")
        if self.outline is not None:
            from medzoo.plots.mass import plot_mass

            title = f"{title} (outline {self.outline})"
            options |= {"mask": self.mask, "contributions": self.contributions, "title": title}
            return plot_mass(path, self.image, self.label, self.probabilities, **options)
        from medzoo.plots.overlay import plot_classification

        return plot_classification(
            path, self.image, self.label, self.probabilities, mask=self.mask, title=title, **options
        )
