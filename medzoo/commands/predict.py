"""`medzoo predict`: files in, files out, names that never collide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePath
from typing import Any

from medzoo.io.formats import stem
from medzoo.results import Result, Segmentation
from medzoo.runtime.predictor import Failure, Predictor


def predict_files(
    predictor: Predictor,
    inputs: Sequence[str],
    *,
    out: Path,
    pictures: bool = True,
    surfaces: bool = False,
    batch: int | None = None,
    **options: Any,
) -> Iterator[Result | Failure]:
    """Answer `inputs` in order and write what each answer has to say into `out`.

    A segmentation leaves its mask (NAME_mask.nii.gz or .png), a detection NAME.json, each with a picture
    NAME.png if `pictures`; with `surfaces` a segmentation also leaves NAME_surfaces.glb and a picture of them. A
    Failure stands in the place of an input that cannot be answered, or whose answer cannot be written.
    `batch`: see Predictor.stream; `options` go to `Predictor.prepare` (mask, box).
    """
    bases = [out / name for name in output_names(inputs)]

    def write(number: int, result: Result) -> Result:
        written: Result = write_result(result, bases[number], pictures=pictures, surfaces=surfaces)
        return written

    yield from predictor.stream(inputs, finish=write, batch=batch, **options)


def write_result(result: Any, base: Path, *, pictures: bool, surfaces: bool = False) -> Any:
    """What `predict_files` writes of one result; returns it, with the path of its mask if it has one."""
    if isinstance(result, Segmentation):
        suffix = ".png" if result.image.affine is None else ".nii.gz"
        result = result.save(base.with_name(f"{base.name}_mask{suffix}"))
        if surfaces:
            result.save_surfaces(base.with_name(f"{base.name}_surfaces.glb"))
    else:
        result.save(base.with_name(f"{base.name}.json"))
    if pictures:
        result.plot(base.with_name(f"{base.name}.png"))
    return result


def output_names(inputs: Sequence[str]) -> list[PurePath]:
    """A name for each input, relative and without suffix: its own, with as many of its parent folders as are
    needed to tell it from the others; a number where the same input is given twice."""
    stems = [Path(text).with_name(stem(text)) if Path(text).name else Path(text) for text in inputs]
    for depth in range(1, max((len(one.parts) for one in stems), default=1) + 1):
        names = [PurePath(*[part for part in one.parts[-depth:] if part not in ("/", "..", ".")]) for one in stems]
        if len(set(names)) == len(set(stems)):
            break
    seen: dict[PurePath, int] = {}
    unique = []
    for name in names:
        seen[name] = seen.get(name, 0) + 1
        unique.append(name if seen[name] == 1 else name.with_name(f"{name.name}-{seen[name]}"))
    return unique
