"""`medzoo predict`: files in, files out, names that never collide."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from medzoo.commands.outputs import DicomOutput, FormatName, open_output
from medzoo.errors import UserError, as_user_error
from medzoo.imaging.blanking import blanked
from medzoo.io.deidentify import Deidentifier
from medzoo.io.dicom.web import is_dicomweb
from medzoo.io.formats import FORMATS, stem, suffix
from medzoo.io.sequences import sequence_files
from medzoo.results import Failure, Result, Segmentation
from medzoo.runtime.predictor import Predictor

# A file that is an image by itself; those of a DICOM series are one together.
# What the file of an answer adds to the name that it is called by, of any --format.
_ADDED = (".json", ".png", "_mask.png", "_mask.nii.gz", "_seg.dcm", "_sr.dcm", "_surfaces.glb", "_surfaces.png")
SCANS = frozenset(s for form in FORMATS if form.name not in ("dicom", "archive") for s in form.suffixes)


def predict_files(
    predictor: Predictor,
    inputs: Sequence[str],
    *,
    out: Path,
    pictures: bool = True,
    surfaces: bool = False,
    batch: int | None = None,
    form: FormatName = "auto",
    deidentify: bool = False,
    **options: Any,
) -> Iterator[Result | Failure]:
    """Answer `inputs` in order and write what each answer has to say into `out`.

    `form`: see medzoo.commands.outputs; each answer also gets a picture NAME.png if `pictures`, and with `surfaces` a
    segmentation leaves NAME_surfaces.glb and a picture of them. `deidentify`: nothing that is written or raised says
    who or when (see medzoo.io.deidentify): answers are called image-0001, ... in the order of `inputs`, DICOM objects
    hold geometry and exchanged UIDs, and lines of text burnt into an image are blanked in its picture (see
    medzoo.imaging.blanking); surfaces, which show a face, are refused. Only `input` of a result that is returned is
    still the argument. An input
    dicomweb://... is fetched, and its answer stored there as SEG or SR. A Failure stands in the place of an input
    that cannot be answered, or whose answer cannot be written. `batch`: see Predictor.stream; `options` go to
    `Predictor.prepare` (mask, box). Raises UserError before anything is written if an input is no name at all, or
    would be written over.
    """
    if not deidentify:
        yield from _predict_files(
            predictor,
            inputs,
            out=out,
            pictures=pictures,
            surfaces=surfaces,
            batch=batch,
            form=form,
            hidden=None,
            **options,
        )
        return
    if surfaces:
        raise UserError("the surface of a head shows whose it is", "--surfaces", "leave it out with --deidentify")
    if any(is_dicomweb(one) for one in inputs):
        raise UserError("an answer that is stored in a patient's study belongs to the patient", "--deidentify")
    hidden = Deidentifier([str(one) for one in inputs])
    try:
        yield from _predict_files(
            predictor,
            inputs,
            out=out,
            pictures=pictures,
            surfaces=False,
            batch=batch,
            form=form,
            hidden=hidden,
            **options,
        )
    except UserError as error:
        raise hidden.error(error) from None
    except Exception as error:  # whatever it says, it may say of the patient
        raise UserError(
            f"failed ({type(error).__name__})",
            "--deidentify",
            "without it the error says what of, which may name a patient",
        ) from None


def _predict_files(
    predictor: Predictor,
    inputs: Sequence[str],
    *,
    out: Path,
    pictures: bool,
    surfaces: bool,
    batch: int | None,
    form: FormatName,
    hidden: Deidentifier | None,
    **options: Any,
) -> Iterator[Result | Failure]:
    """`predict_files`, deidentified by `hidden` if there is one."""
    names = [hidden.name(number) for number in range(len(inputs))] if hidden is not None else output_names(inputs)
    spare_inputs(inputs, [out / name for name in names], pictures=pictures)
    output = open_output(form, out, deidentify=hidden)

    def write(number: int, result: Result) -> Result:
        base = out / names[number]
        if hidden is not None:
            result = replace(result, input=base.name)
            if result.image is not None:
                image = hidden.image(result.image)
                result = replace(result, image=blanked(image) if pictures else image)
        written = result if output.together else output.write(result, base)
        if pictures:
            result.plot(base.with_name(f"{base.name}.png"))
        if surfaces and isinstance(result, Segmentation):
            result.save_surfaces(base.with_name(f"{base.name}_surfaces.glb"))
        return written

    def answers() -> Iterator[Result | Failure]:
        if not any(is_dicomweb(one) for one in inputs):
            yield from predictor.stream(inputs, finish=write, batch=batch, **options)
            return
        for number, one in enumerate(inputs):
            yield _answer_alone(predictor, one, partial(write, number), out / names[number], options)

    for number, answer in enumerate(answers()):
        if output.together and not isinstance(answer, Failure):
            try:
                answer = output.write(answer, out / names[number])
            except Exception as error:  # of one answer, which must not cost the others theirs
                answer = Failure(input=answer.input, error=as_user_error(error, answer.input))
        if hidden is not None:
            if isinstance(answer, Failure):
                answer = replace(answer, error=hidden.error(answer.error, number))
            answer = replace(answer, input=str(inputs[number]))
        yield answer
    output.close()


def spare_inputs(inputs: Sequence[str], bases: Sequence[Path], *, pictures: bool) -> None:
    """Refuse to write an answer over one of the images that are to be answered."""
    added = [one for one in _ADDED if pictures or one != ".png"]
    written = {base.with_name(base.name + one).resolve() for base in bases for one in added}
    for text in inputs:
        for one in sequence_files(text):
            if Path(one).resolve() in written:
                way = "choose another -o" + (", or --no-pictures" if Path(one).suffix == ".png" and pictures else "")
                raise UserError("an answer would be written over this input", where=one, hint=way)


def _answer_alone(
    predictor: Predictor,
    source: str,
    write: Callable[[Result], Result],
    base: Path,
    options: Mapping[str, Any],
) -> Result | Failure:
    """One input, fetched first and its answer stored back if it lies on a DICOMweb server."""
    from medzoo.io.dicom import web

    try:
        if not is_dicomweb(source):
            return write(predictor.predict(source, **options))
        web.parse(source)
        with tempfile.TemporaryDirectory(prefix="medzoo-") as folder:
            result: Result = replace(predictor.predict(web.fetch(source, Path(folder)), **options), input=source)
            stored = DicomOutput("dicom-seg" if isinstance(result, Segmentation) else "dicom-sr")
            stored.write(result, base)
            web.store(source, stored.paths)
            return write(result)
    except Exception as error:  # of one input, which must not cost the others their answers
        return Failure(input=source, error=as_user_error(error, source))


def write_result(result: Any, base: Path, *, pictures: bool) -> Any:
    """What `predict_files` writes of one result by default; returns it, with the path of its mask if it has one."""
    result = open_output("auto", base.parent).write(result, base)
    if pictures:
        result.plot(base.with_name(f"{base.name}.png"))
    return result


def output_names(inputs: Sequence[str]) -> list[PurePath]:
    """A name for each input, relative and without suffix: its own, with as many of its parent folders as are
    needed to tell it from the others; a number where the same input is given twice. Raises UserError for ""."""
    if any(not one.strip() for one in inputs):
        raise UserError("is empty, where a file or a folder is to be named", where="INPUT")
    # Sequences of one scan are called as the first of them.
    inputs = [sequence_files(one)[0] for one in inputs]
    # The last dot of a UID begins no suffix, and a series is named behind a number sign.
    inputs = [one.replace(".", "-").replace("#", "-") if is_dicomweb(one) else one for one in inputs]
    # A folder may be named from within: . or ..
    paths = [Path(text) if Path(text).name not in ("", "..") else Path(text).resolve() for text in inputs]
    stems = [one.with_name(stem(str(one))) if one.name else Path("root") for one in paths]
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


def scans_of(inputs: Sequence[str]) -> list[str]:
    """`inputs` with every folder of pictures or volumes replaced by the files in it, sorted; a folder of files
    without a suffix that says more (a DICOM series) stays one input."""
    found: list[str] = []
    for text in inputs:
        path = Path(text)
        inner = sorted(p for p in path.rglob("*") if suffix(p) in SCANS and p.is_file()) if path.is_dir() else []
        found += [str(p) for p in inner] or [text]
    return found
