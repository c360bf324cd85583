"""`medzoo verify`: a model folder's digests, parity and card, checked again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medzoo.artifact import ModelFolder
from medzoo.artifact.folder import omitted_files
from medzoo.artifact.locate import find_model
from medzoo.artifact.pipeline import pipeline_members
from medzoo.errors import UserError
from medzoo.metrics import Scores, read_scores
from medzoo.metrics.scores import FILE as EVALUATION
from medzoo.report.card import render_card
from medzoo.runtime.backends.onnx import OnnxBackend
from medzoo.runtime.metadata import PRECISIONS, graph_file


@dataclass(frozen=True)
class Check:
    """A check that passed: its name, and a sentence."""

    name: str
    words: str


def verify(model: str | Path) -> list[Check]:
    """Check digests, card, metrics, members and parity of a model folder. Raises UserError for the first that fails."""
    from medzoo.runtime.parity.gate import check_golden_file, check_metadata

    path = find_model(model)
    if not path.is_dir():
        raise UserError("is not a model folder, so it cannot be verified", where=str(path))
    folder = ModelFolder.open(path)
    absent = omitted_files(path)
    summary = f"{len(set(folder.manifest['files']) - absent)} files match the manifest"
    checks = [Check("digests", summary + (f"; not in this copy: {', '.join(sorted(absent))}" if absent else ""))]
    card = folder.file("README.md")
    if card.read_text(encoding="utf-8") != render_card(folder.manifest):
        raise UserError("the card does not match the manifest", where=str(card))
    checks.append(Check("card", "every metric matches the manifest"))
    if EVALUATION in folder.manifest["files"]:
        scores = read_scores(folder.file(EVALUATION))
        _check_metrics(scores, folder)
        checks.append(Check("metrics", f"recomputed from the predictions for {len(scores.items)} items"))
    if "members" in folder.manifest:
        names = [member.name for member in pipeline_members(folder).values()]
        checks.append(Check("members", f"{', '.join(names)} are the versions that the manifest names"))
    for precision in PRECISIONS:
        name = graph_file(precision)
        if name not in folder.manifest["files"] or name in absent:
            continue
        backend = OnnxBackend(folder.file(name), device="cpu")
        if backend.metadata.recipe_digest != folder.manifest["recipe_digest"]:
            raise UserError("was exported from another recipe than that of the folder", where=str(path / name))
        if backend.metadata.precision != precision:
            raise UserError(f"is a file of {backend.metadata.precision}", where=str(path / name))
        check_metadata(backend.metadata, folder.manifest, where=str(path / name))
        report = check_golden_file(backend, folder.file("golden.npz"))
        within = "as in PyTorch" if precision == "fp32" else f"within the tolerance of {precision}"
        words = f"{report['inputs']} stored inputs give the same outputs {within}"
        checks.append(Check("parity" if precision == "fp32" else f"parity {precision}", words))
    return checks


def _check_metrics(scores: Scores, folder: ModelFolder) -> None:
    """Raise UserError if a metric of the manifest does not follow from the predictions in evaluation.json."""
    counted = {metric.name: metric for metric in scores.metrics()}
    for stored in folder.manifest["metrics"]["figures"]:
        recomputed = counted.get(stored["name"])
        for part in ("value", "low", "high"):
            found = getattr(recomputed, part, None)
            if (found is None) != (stored[part] is None) or (found is not None and abs(found - stored[part]) > 1e-6):
                raise UserError(
                    f"{stored['name']} does not follow from the stored predictions: {part} is {found}, "
                    f"not {stored[part]}",
                    where=str(folder.path / EVALUATION),
                )
