"""What a prediction answers: Classification, Segmentation, Detections, each on the source's own grid.

Plain records. They know how to write and show themselves; what draws is imported only when asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from medzoo.errors import UserError
from medzoo.escape import json_text
from medzoo.io.atomic import atomic_write, spare
from medzoo.io.formats import suffix
from medzoo.io.mask import write_mask
from medzoo.types import Array, Image, boxes_to_mm


@dataclass(frozen=True, eq=False, kw_only=True)
class Classification:
    """One label for one image, or for one mass in it.

    `probabilities`: every label of the model. `outline`: where the mass's outline came from, and `mask`
    (*spatial) the outline itself; `features`: the values that the decision rests on, `contributions`: what
    each does to the log-odds of the last label; `notes`: what had to be done to the picture or the outline.
    `label_set`: the labels that cannot be ruled out if sets are to hold the truth with a share of `coverage`
    (a conformal set); None where the model makes no sets.
    """

    task: ClassVar[str] = "classify"
    error: ClassVar[None] = None
    input: str
    model: str
    label: str
    probabilities: Mapping[str, float]
    seconds: float = 0.0
    outline: Literal["given", "found", "box"] | None = None
    features: Mapping[str, float] | None = None
    mask: Array | None = None
    contributions: Mapping[str, float] | None = None
    notes: Sequence[str] = ()
    label_set: Sequence[str] | None = None
    coverage: float | None = None
    image: Image | None = None

    @property
    def sure(self) -> bool | None:
        """Whether exactly one label cannot be ruled out; None where the model makes no sets."""
        return None if self.label_set is None else len(self.label_set) == 1

    def to_dict(self) -> dict[str, Any]:
        """The object of `predict --json`."""
        answer = _head(self) | {
            "label": self.label,
            "probabilities": {k: round(float(p), 6) for k, p in self.probabilities.items()},
        }
        if self.outline is not None:
            answer["outline"] = self.outline
        if self.features is not None:
            answer["features"] = {k: float(f"{v:.7g}") for k, v in self.features.items()}
        if self.contributions is not None:
            answer["contributions"] = {k: round(float(v), 4) for k, v in self.contributions.items()}
        if self.label_set is not None:
            answer |= {"label_set": list(self.label_set), "coverage": self.coverage, "sure": self.sure}
        return answer

    def save(self, path: str | Path) -> Classification:
        """Write `to_dict()` as JSON (.json); returns self. Raises UserError."""
        spare(path, *_sources(self))
        _save_json(path, self.to_dict())
        return self

    def plot(self, path: str | Path, **options: Any) -> Path:
        """Draw the image with its label as PNG; returns the path. Of a mass also its outline (`harmonics=k`: as
        rebuilt from that many) and what its features contributed."""
        from medzoo.plots.overlay import plot_classification

        spare(path, *_sources(self))
        if self.image is None:
            raise UserError("the image was not kept with this result, it cannot be drawn", self.input)
        doubt = (
            "" if self.label_set is None or self.sure else f", not sure: {' or '.join(self.label_set) or 'none fits'}"
        )
        title = options.pop("title", f"{self.model}: {self.label}{doubt}")
        if self.outline is not None:
            from medzoo.plots.mass import plot_mass

            title = f"{title} (outline {self.outline})"
            options |= {"mask": self.mask, "contributions": self.contributions, "title": title}
            return plot_mass(path, self.image, self.label, self.probabilities, **options)
        return plot_classification(
            path, self.image, self.label, self.probabilities, mask=self.mask, title=title, **options
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Segmentation:
    """A label for every pixel of the source: `mask` (*spatial) uint8, value = index into `labels`.

    `mask_path` is set on the copy that `save` returns. `notes`: what had to be done to the image.
    """

    task: ClassVar[str] = "segment"
    error: ClassVar[None] = None
    input: str
    model: str
    mask: Array
    labels: Sequence[str]
    image: Image
    seconds: float = 0.0
    mask_path: Path | None = None
    notes: Sequence[str] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Number of pixels of each label but the first (the background)."""
        numbers = np.bincount(self.mask.ravel(), minlength=len(self.labels))
        return {label: int(numbers[n]) for n, label in enumerate(self.labels) if n}

    @property
    def volumes_ml(self) -> dict[str, float] | None:
        """Millilitres of each label but the background, from the affine's determinant; None for a picture."""
        if self.image.affine is None:
            return None
        voxel = abs(float(np.linalg.det(self.image.affine[:3, :3]))) / 1000
        return {label: count * voxel for label, count in self.counts.items()}

    @property
    def areas_px(self) -> dict[str, int] | None:
        """Pixels of each label but the background; None for a volume."""
        return self.counts if self.image.affine is None else None

    def to_dict(self) -> dict[str, Any]:
        """The object of `predict --json`; "mask" is there once the mask has been saved."""
        answer = _head(self)
        if self.mask_path is not None:
            answer["mask"] = str(self.mask_path)
        if (volumes := self.volumes_ml) is not None:
            answer["volumes_ml"] = {label: round(ml, 4) for label, ml in volumes.items()}
        else:
            answer["areas_px"] = self.areas_px
        return answer

    def save(self, path: str | Path) -> Segmentation:
        """Write the mask (.nii.gz or .nii of a volume, .png of a picture); returns a copy with its path."""
        spare(path, *_sources(self))
        return replace(self, mask_path=write_mask(path, self.mask, self.image))

    def plot(self, path: str | Path, **options: Any) -> Path:
        """Draw three views of a volume, or the picture, with its labels as PNG; returns the path."""
        spare(path, *_sources(self))
        if self.image.affine is not None:
            from medzoo.plots.three_views import plot_three_views

            return plot_three_views(path, self.image, mask=self.mask, labels=self.labels, **options)
        from medzoo.plots.overlay import plot_mask

        return plot_mask(path, self.image, self.mask, self.labels, **options)

    def save_surfaces(self, path: str | Path) -> tuple[Path, Path]:
        """Write the surfaces of the scan and of each tissue as GLB (metres, Y up) and, beside it, as a PNG.

        Returns both paths. Raises UserError for a picture, which has none.
        """
        from medzoo.plots.colours import colour_of
        from medzoo.plots.surface import plot_gallery, scan_surface, surfaces, write_glb

        if self.image.affine is None:
            raise UserError("a picture has no surfaces", self.input)
        meshes = {"scan": scan_surface(self.image.array[0], self.image.affine)}
        meshes |= surfaces(self.mask, self.image.affine, dict(enumerate(self.labels[1:], start=1)))
        # Tissues in the colours that they have in the three views.
        colours = {label: colour_of(n) for n, label in enumerate(self.labels[1:])} | {"scan": (200, 196, 190)}
        picture = Path(path).with_suffix(".png")
        return write_glb(path, meshes, colours), plot_gallery(picture, meshes, colours)


@dataclass(frozen=True, eq=False, kw_only=True)
class Detections:
    """Boxes found in one image.

    `boxes` (N, 2n) in the source's pixels (see medzoo.types), `scores` (N,), `classes` (N,) indices into
    `labels`. `details`: what is known of each box beyond that (a cascade's members), (N,) or none. `notes`: what had to
    be done to the image, such as by how much it was reduced.
    """

    task: ClassVar[str] = "detect"
    error: ClassVar[None] = None
    input: str
    model: str
    labels: Sequence[str]
    boxes: Array
    scores: Array
    classes: Array
    image: Image
    seconds: float = 0.0
    details: Sequence[Mapping[str, Any]] = field(default=())
    notes: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def boxes_mm(self) -> Array | None:
        """(N, 2, 3) lowest and highest RAS corner in millimetres; None for a picture."""
        if self.image.affine is None:
            return None
        return boxes_to_mm(np.asarray(self.boxes, float).reshape(-1, 6), self.image.affine)

    def to_dict(self) -> dict[str, Any]:
        """The object of `predict --json`, best first."""
        mm = self.boxes_mm
        found = []
        for n in np.argsort(-np.asarray(self.scores, float), kind="stable"):
            one: dict[str, Any] = {
                "label": self.labels[int(self.classes[n])],
                "score": round(float(self.scores[n]), 6),
                "box": [round(float(v), 3) for v in self.boxes[n]],
            }
            if mm is not None:
                one["box_mm"] = [[round(float(v), 3) for v in corner] for corner in mm[n]]
            found.append(one | (dict(self.details[n]) if self.details else {}))
        return _head(self) | {"detections": found}

    def save(self, path: str | Path) -> Detections:
        """Write `to_dict()` as JSON (.json); returns self. Raises UserError."""
        spare(path, *_sources(self))
        _save_json(path, self.to_dict())
        return self

    def plot(self, path: str | Path, **options: Any) -> Path:
        """Draw the boxes, on a volume those that meet each of three views, as PNG; returns the path."""
        spare(path, *_sources(self))
        if self.image.affine is not None:
            from medzoo.plots.three_views import plot_three_views

            return plot_three_views(
                path,
                self.image,
                boxes=self.boxes,
                scores=self.scores,
                classes=self.classes,
                labels=self.labels,
                **options,
            )
        from medzoo.plots.overlay import plot_boxes

        if self.details:
            options = {
                "contours": [one["outline"]["contour"] for one in self.details if "outline" in one],
                "notes": [_members_line(one.get("members", {})) for one in self.details],
                **options,
            }
        return plot_boxes(path, self.image, self.boxes, self.scores, self.classes, self.labels, **options)


Result = Classification | Segmentation | Detections
_OF_RESULTS = frozenset(
    name
    for kind in (Classification, Segmentation, Detections)
    for name in (*kind.__dataclass_fields__, *vars(kind))
    if not name.startswith("_")
)


@dataclass(frozen=True, eq=False)
class Failure:
    """Stands among results in the place of an input that cannot be answered.

    `error` says why in one line; of a result it is None. Whatever else a result has (`mask`, `label`, `save`, ...)
    raises that error when it is asked for, so a script that overlooks a failure stops at it.
    """

    input: str
    error: UserError

    def to_dict(self) -> dict[str, Any]:
        """The object of `predict --json`."""
        return {"input": self.input, "error": str(self.error).replace("\n", "; ")}

    def __getattr__(self, name: str) -> Any:
        if name in _OF_RESULTS:
            raise self.error
        raise AttributeError(f"a Failure has no attribute {name!r}")


def _members_line(members: Mapping[str, Mapping[str, float]]) -> str:
    """Each judge's likeliest label and its probability, in one line."""
    best = {name: max(said, key=said.__getitem__) for name, said in members.items()}
    return ", ".join(f"{name}: {label} {members[name][label]:.2f}" for name, label in best.items())


def _sources(result: Result) -> tuple[str | None, ...]:
    """The files that a result was made from, which it must not be written over."""
    image = result.image
    return (image.source, *map(str, image.meta.get("files", ()))) if image is not None else (result.input,)


def _head(result: Result) -> dict[str, Any]:
    head = {
        "input": result.input,
        "model": result.model,
        "task": result.task,
        "seconds": round(float(result.seconds), 4),
    }
    if result.image is not None and "assumed" in result.image.meta:
        # What the source does not say of its place, and was taken for it.
        head["assumed"] = result.image.meta["assumed"]
    if result.image is not None and "blanked" in result.image.meta:
        head["blanked"] = result.image.meta["blanked"]
    # Those of the image tell where its header contradicts itself, or its values were converted.
    told = () if result.image is None else result.image.meta.get("notes", ())
    if notes := list(dict.fromkeys([*told, *result.notes])):
        head["notes"] = notes
    return head


def _save_json(path: str | Path, answer: Mapping[str, Any]) -> None:
    if suffix(path) != ".json":
        raise UserError("this result is saved as .json", str(path), "plot(...) draws it as .png")
    text = json_text(answer, indent=2) + "\n"
    atomic_write(path, lambda handle: handle.write(text.encode()))
