"""The prediction of a segmenter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from medzoo.errors import UserError, missing_extra
from medzoo.imaging.measures import Component, components
from medzoo.io.mask import write_mask
from medzoo.results.result import Result
from medzoo.types import Array, Image

_MEASURED = 10  # parts whose diameters are drawn


@dataclass(frozen=True, eq=False, kw_only=True)
class Phases:
    """The phases of a scan of the heart: `masks` (*spatial) of each in the order of the input, the numbers of those in
    which the cavity is fullest and emptiest, and the share of each cavity that is ejected between them, by label."""

    masks: Sequence[Array]
    end_diastole: int
    end_systole: int
    ejection_fractions: Mapping[str, float]


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Segmentation(Result):
    """A label for every pixel of the source: `mask` (*spatial) uint8, value = index into `labels`.

    The first label is the background. `mask_path` is set on the copy that `save` returns. `phases`: of an input of
    several phases; mask, volumes and components are then those of end diastole.
    """

    task: str = "segment"
    image: Image
    mask: Array
    labels: Sequence[str]
    mask_path: Path | None = None
    phases: Phases | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Number of pixels of each label but the background."""
        numbers = np.bincount(self.mask.ravel(), minlength=len(self.labels))
        return {label: int(numbers[n]) for n, label in enumerate(self.labels) if n}

    @property
    def volumes_ml(self) -> dict[str, float] | None:
        """Millilitres of each label but the background, by the affine's determinant; None for a picture."""
        if self.image.affine is None:
            return None
        voxel = abs(float(np.linalg.det(self.image.affine[:3, :3]))) / 1000
        return {label: count * voxel for label, count in self.counts.items()}

    @property
    def areas_px(self) -> dict[str, int] | None:
        """Pixels of each label but the background; None for a volume."""
        return self.counts if self.image.affine is None else None

    def _summary(self) -> str:
        if self.phases is not None:
            shares = self.phases.ejection_fractions
            return f"ejection fraction {', '.join(f'{label} {100 * f:.0f} %' for label, f in shares.items()) or 'none'}"
        if (volumes := self.volumes_ml) is not None:
            return ", ".join(f"{label} {ml:.4g} ml" for label, ml in volumes.items())
        return ", ".join(f"{label} {count} px" for label, count in self.counts.items())

    def components(self) -> list[Component]:
        """Connected parts of each label but the background, with their measurements; by label, largest first.

        Pixels that touch at a corner are connected. Takes some seconds for a label of many thousand parts.

        >>> result = medzoo.load("brain-tissue-unet").predict("head.nii.gz")
        >>> result.components()[0].measures.unit
        'mm'
        """
        return list(components(self.mask, self.image))

    def to_rows(self) -> list[dict[str, Any]]:
        """A flat mapping of each connected part: label, `component` (from 1 on, by size), box and measurements."""
        names = ("x0", "y0", "x1", "y1") if self.image.affine is None else ("i0", "j0", "k0", "i1", "j1", "k1")
        rows: list[dict[str, Any]] = []
        numbers: dict[int, int] = {}
        for one in self.components():
            numbers[one.value] = numbers.get(one.value, 0) + 1
            row: dict[str, Any] = {"label": self.labels[one.value], "component": numbers[one.value]}
            rows.append(row | dict(zip(names, one.box.tolist(), strict=True)) | one.measures.to_columns())
        return rows

    def to_pandas(self) -> Any:
        """`to_rows` as a pandas.DataFrame. Raises UserError if pandas is missing (medzoo[tables])."""
        try:
            import pandas
        except ImportError:
            raise missing_extra("pandas", "tables") from None
        return pandas.DataFrame(self.to_rows())

    def to_dict(self, *, components: bool = False) -> dict[str, Any]:
        """The object of `predict --json`; it has "mask" once the mask was saved, and with `components` the connected
        parts of each label and their measurements.

        >>> result = medzoo.load("brain-tissue-unet").predict("head.nii.gz")
        >>> sorted(result.to_dict()["volumes_ml"])
        ['csf', 'grey-matter', 'white-matter']
        """
        document = super().to_dict()
        if self.mask_path is not None:
            document["mask"] = str(self.mask_path)
        if (volumes := self.volumes_ml) is not None:
            document["volumes_ml"] = {label: round(ml, 4) for label, ml in volumes.items()}
        else:
            document["areas_px"] = self.areas_px
        if (phases := self.phases) is not None:
            document["ejection_fraction"] = {k: round(f, 4) for k, f in phases.ejection_fractions.items()}
            document["phases"] = {
                "count": len(phases.masks), "end_diastole": phases.end_diastole, "end_systole": phases.end_systole
            }  # fmt: skip
        if components:
            document["components"] = [
                {"label": self.labels[one.value], "box": one.box.tolist(), "measures": one.measures.to_dict()}
                for one in self.components()
            ]
        return document

    def save(self, path: str | Path) -> Segmentation:
        """Write the mask (.nii.gz or .nii for a volume, .png for a picture); returns a copy with its path.

        Those of several phases are one file, along its fourth axis. Raises UserError.

        >>> result = medzoo.load("brain-tissue-unet").predict("head.nii.gz")
        >>> result.save("tissue.nii.gz").to_dict()["mask"]
        'tissue.nii.gz'
        """
        self._refuse_sources(path)
        mask = self.mask if self.phases is None else np.stack(self.phases.masks, axis=-1)
        return replace(self, mask_path=write_mask(path, mask, self.image))

    def plot(self, path: str | Path, **options: Any) -> Path:
        """Draw three views of a volume, or the picture, with its labels as PNG; returns the path. Raises UserError.

        `callipers`: draw the diameters of the connected parts of a picture's labels, of ten at most.
        """
        self._refuse_sources(path)
        if self._strangeness:
            options = {"title": f"{self.model}{self._strangeness}", **options}
        if self.image.affine is not None:
            from medzoo.plots.three_views import plot_three_views

            return plot_three_views(path, self.image, mask=self.mask, labels=self.labels, **options)
        from medzoo.plots.callipers import Calliper
        from medzoo.plots.overlay import plot_mask

        if options.pop("callipers", False):
            found = (one.measures for one in self.components()[:_MEASURED])
            options["callipers"] = [Calliper(one.callipers, one.words) for one in found]
        return plot_mask(path, self.image, self.mask, self.labels, **options)

    def save_surfaces(self, path: str | Path) -> tuple[Path, Path]:
        """Write the surfaces of the scan and of each label as GLB (metres, Y up) and, beside it, as PNG.

        Returns both paths. Raises UserError for a picture, which has none.
        """
        from medzoo.plots.colours import colour_of
        from medzoo.plots.surface import plot_gallery, scan_surface, surfaces, write_glb

        if self.image.affine is None:
            raise UserError("a picture has no surfaces", self.input)
        meshes = {"scan": scan_surface(self.image.array[0], self.image.affine)}
        meshes |= surfaces(self.mask, self.image.affine, dict(enumerate(self.labels[1:], start=1)))
        # Labels in the colours that they have in the three views.
        colours = {label: colour_of(n) for n, label in enumerate(self.labels[1:])} | {"scan": (200, 196, 190)}
        picture = Path(path).with_suffix(".png")
        return write_glb(path, meshes, colours), plot_gallery(picture, meshes, colours)
