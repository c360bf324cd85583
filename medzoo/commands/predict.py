"""`medzoo predict`: files in, files out, names that never collide."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePath
from typing import Any

from medzoo.commands.output_names import StreamNames, output_names, refuse_overwrite
from medzoo.errors import UserError, as_user_error
from medzoo.imaging.text_lines import blank_text
from medzoo.io.deidentify import Deidentifier
from medzoo.io.dicom.web import is_dicomweb
from medzoo.io.formats import FORMATS, is_image_file, suffix
from medzoo.results import Failure, Result, Segmentation
from medzoo.runtime.predictor import Predictor
from medzoo.writer import Writer, WriterOptions, open_writer, writer_type

# A file that is an image by itself; those of a DICOM series are one together.
SCANS = frozenset(s for form in FORMATS if form.name not in ("dicom", "archive") for s in form.suffixes)


def predict_files(
    predictor: Predictor,
    inputs: Iterable[str],
    *,
    out: Path,
    pictures: bool = True,
    surfaces: bool = False,
    batch: int | None = None,
    form: str = "auto",
    deidentify: bool = False,
    annotations: str | Path | None = None,
    components: bool = False,
    tell: Callable[[str], None] | None = None,
    **options: Any,
) -> Iterator[Result | Failure]:
    """Answer `inputs` in order and write what each answer has to say into `out`.

    A list of inputs is named as a whole, see `output_names`; any other iterable is taken one by one, see `StreamNames`.

    `form`: a format of medzoo.writers; each answer also gets a picture NAME.png if `pictures`, and with `surfaces` a
    segmentation leaves NAME_surfaces.glb and a picture of them. `deidentify`: nothing that is written or raised says
    who or when (see medzoo.io.deidentify): answers are called image-0001, ... in the order of `inputs`, DICOM objects
    hold geometry and exchanged UIDs, and lines of text burnt into an image are blanked in its picture (see
    medzoo.imaging.text_lines); surfaces, which show a face, are refused. Only `input` of a result that is returned is
    still the argument. An input
    dicomweb://... is fetched, and its answer stored there as SEG or SR. A Failure stands in the place of an input
    that cannot be answered, or whose answer cannot be written. `annotations`: a COCO file whose ids of images and
    categories `form` "coco" takes. `components`: measure the connected parts of masks, in tables and pictures.
    `tell`: called with what must be known of the files. `batch`: see Predictor.stream; `options` go to
    `Predictor.prepare` (mask, box). Raises UserError before anything is written if an input is no name at all, or
    would be written over.
    """
    read = [str(one) for one in (annotations, options.get("mask")) if isinstance(one, str | Path)]
    common: dict[str, Any] = {"out": out, "pictures": pictures, "batch": batch, "form": form, "read": read}
    common["tell"] = tell
    common |= {"annotations": None if annotations is None else Path(annotations), "components": components}
    if not deidentify:
        yield from _predict_files(predictor, inputs, surfaces=surfaces, hidden=None, **common, **options)
        return
    if surfaces:
        raise UserError(
            "the surface of a head can identify the patient", "--surfaces", "leave it out with --deidentify"
        )
    inputs = [str(one) for one in inputs]  # what none of them may be called by must be known
    if any(is_dicomweb(one) for one in inputs):
        raise UserError("a result stored in a patient's study cannot be deidentified", "--deidentify")
    hidden = Deidentifier(inputs)
    try:
        yield from _predict_files(predictor, inputs, surfaces=False, hidden=hidden, **common, **options)
    except UserError as error:
        raise hidden.error(error) from None
    except Exception as error:  # whatever it says, it may say of the patient
        raise UserError(
            f"failed ({type(error).__name__})",
            "--deidentify",
            "run without --deidentify to see the error, which may name a patient",
        ) from None


def _predict_files(
    predictor: Predictor,
    inputs: Iterable[str],
    *,
    out: Path,
    pictures: bool,
    surfaces: bool,
    batch: int | None,
    form: str,
    hidden: Deidentifier | None,
    annotations: Path | None,
    components: bool,
    read: Sequence[str],
    tell: Callable[[str], None] | None,
    **options: Any,
) -> Iterator[Result | Failure]:
    """`predict_files`, deidentified by `hidden` if there is one; `read`: files that are read besides the inputs."""
    output = _writer(form, predictor, out, deidentify=hidden, annotations=annotations, components=components)
    listed = inputs if isinstance(inputs, Sequence) else None
    task = predictor.metadata.task
    added = [*writer_type(form).suffixes(task), *([".png"] if pictures else [])]
    added += ["_surfaces.glb", "_surfaces.png"] if surfaces else []
    if listed is not None and any(is_dicomweb(one) for one in listed):
        added += ["_seg.dcm", "_sr.dcm"]
    summaries = writer_type(form).summaries
    summary_files = [out / one for one in summaries]
    names: list[PurePath] = []
    if listed is not None:
        names += (
            [hidden.name(number) for number in range(len(listed))]
            if hidden is not None
            else output_names(listed, added=added, kept=summaries)
        )
        refuse_overwrite([*listed, *read], [out / name for name in names], pictures=pictures, summaries=summary_files)

    def named() -> Iterator[str]:
        stream = StreamNames(out, added=added, kept=summaries)
        for one in inputs:
            names.append(stream.name(one))
            refuse_overwrite([one, *read], [out / names[-1]], pictures=pictures, summaries=summary_files)
            yield one

    def write(number: int, result: Result) -> Result:
        base = out / names[number]
        if hidden is not None:
            result = replace(result, input=base.name)
            if result.image is not None:
                image = hidden.image(result.image)
                result = replace(result, image=blank_text(image) if pictures else image)
        written = result if output.together else output.write(result, base)
        if pictures:
            drawn = {"callipers": True} if components and isinstance(result, Segmentation) else {}
            result.plot(base.with_name(f"{base.name}.png"), **drawn)
        if surfaces and isinstance(result, Segmentation):
            result.save_surfaces(base.with_name(f"{base.name}_surfaces.glb"))
        return written

    def predictions() -> Iterator[Result | Failure]:
        if listed is None or not any(is_dicomweb(one) for one in listed):
            taken = named() if listed is None else listed
            yield from predictor.stream(taken, finish=write, batch=batch, **options)
            return
        for number, one in enumerate(listed):
            yield _predict_one(predictor, one, partial(write, number), out / names[number], options)

    for number, prediction in enumerate(predictions()):
        if output.together and not isinstance(prediction, Failure):
            try:
                prediction = output.write(prediction, out / names[number])
            except Exception as error:  # of one answer, which must not cost the others theirs
                prediction = Failure(input=prediction.input, error=as_user_error(error, prediction.input))
        if isinstance(prediction, Failure):
            if hidden is not None:
                prediction = replace(prediction, error=hidden.error(prediction.error, number))
            output.fail(prediction, prediction.input if hidden is None else names[number].name)
        if hidden is not None and listed is not None:
            prediction = replace(prediction, input=str(listed[number]))
        yield prediction
    output.close()
    if tell is not None:
        for line in output.notes():
            tell(line)


def _predict_one(
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
            form = "dicom-seg" if isinstance(result, Segmentation) else "dicom-sr"
            _writer(form, predictor, base.parent).write(result, base)
            paths = (base.with_name(base.name + suffix) for suffix in writer_type(form).suffixes(result.task))
            web.store(source, [path for path in paths if path.is_file()])
            return write(result)
    except Exception as error:  # of one input, which must not cost the others their answers
        return Failure(input=source, error=as_user_error(error, source))


def _writer(form: str, predictor: Predictor, folder: Path, **options: Any) -> Writer:
    facts = predictor.metadata
    return open_writer(form, WriterOptions(folder, facts.name, facts.task, facts.labels, **options))


def write_result(result: Any, base: Path, *, pictures: bool) -> Any:
    """Write one result as `predict_files` does by default; returns it, with the path of its mask if it has one."""
    options = WriterOptions(base.parent, result.model, result.task, getattr(result, "labels", ()))
    result = open_writer("auto", options).write(result, base)
    if pictures:
        result.plot(base.with_name(f"{base.name}.png"))
    return result


def expand_folders(inputs: Sequence[str]) -> list[str]:
    """`inputs` with every folder of pictures or volumes replaced by the files in it, sorted; a folder of files
    without a suffix that says more (a DICOM series) stays one input."""
    found: list[str] = []
    for text in inputs:
        path = Path(text)
        below = path.rglob("*") if path.is_dir() else ()
        inner = sorted(p for p in below if suffix(p) in SCANS and is_image_file(p) and p.is_file())
        found += [str(p) for p in inner] or [text]
    return found
