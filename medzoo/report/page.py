"""One self-contained HTML page about a model: metrics, curves, worst cases, and its worst scan in a viewer."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from string import Template
from typing import Any

from medzoo.artifact import ModelFolder
from medzoo.escape import html_text
from medzoo.metrics import read_scores
from medzoo.metrics.scores import FILE as EVALUATION
from medzoo.plots.colours import colour_of
from medzoo.report.curves import curves, training_curve
from medzoo.report.sections import (
    SHEET,
    describe_calibration,
    describe_fact,
    format_number,
    metric_text,
    retrain_command,
    shared_interval,
)
from medzoo.task import task_of

BUNDLE = "niivue.umd.js"
VOLUMES = {"scan": "worst.nii.gz", "answer": "worst-answer.nii.gz", "truth": "worst-truth.nii.gz"}
_TILES = 4


def viewer_bundle() -> str | None:
    """NiiVue's code; None where `make viewer` has not brought it."""
    path = files("medzoo.report.viewer") / BUNDLE
    return path.read_text(encoding="utf-8") if path.is_file() else None


def render_page(folder: ModelFolder, *, version: str) -> str:
    """The page of a model folder. Without the viewer's bundle, volumes are shown in pictures alone."""
    manifest = folder.manifest
    metrics = manifest["metrics"]
    plots = [training_curve(manifest.get("training", {}))]
    if EVALUATION in manifest["files"]:
        plots = [*curves(read_scores(folder.file(EVALUATION))), *plots]
    viewer, scripts = _viewer(folder)
    protocols, interval = shared_interval([metric["protocol"] for metric in metrics["figures"]])
    return Template(_read("page.html")).substitute(
        name=html_text(manifest["name"]),
        version=html_text(version),
        style=_read("page.css"),
        summary=html_text(manifest.get("summary") or f"A model for task {manifest['task']}.", keep="\n"),
        intended=html_text(manifest.get("intended") or "", keep="\n"),
        tiles="".join(_tile(metric) for metric in _headline_metrics(metrics["figures"], task=manifest["task"])),
        viewer=viewer,
        measured=html_text(
            f"On the {metrics['split']} part ({metrics['items']} items), which training did not see."
            + (f" Scored against: {metrics['scored']}." if metrics.get("scored") else "")
        ),
        plots="".join(plot for plot in plots if plot),
        interval=html_text(f"95 % interval: {interval}" if interval else "95 % interval"),
        metrics="".join(map(_row, metrics["figures"], protocols)),
        subgroups=_subgroups(metrics),
        worst=_worst(folder),
        facts="".join(
            f"<tr><th>{html_text(name)}</th><td>{html_text(words)}</td></tr>" for name, words in _facts(manifest)
        ),
        again=html_text(retrain_command(manifest)),
        scripts=scripts,
    )


def _headline_metrics(metrics: Sequence[Mapping[str, Any]], *, task: str) -> list[Mapping[str, Any]]:
    """The metrics that say most, of those that are defined and of the model itself rather than of a baseline."""
    own = [one for one in metrics if one["value"] is not None and "baseline" not in one["protocol"]]
    first = [one for name in task_of(task).headline for one in own if one["name"] == name]
    return [*first, *[one for one in own if one not in first]][:_TILES]


def _tile(metric: Mapping[str, Any]) -> str:
    words = "" if metric.get("low") is None else f"{format_number(metric['low'])} to {format_number(metric['high'])}"
    value = format_number(metric["value"])
    return f"<div class='tile'>{html_text(metric['name'])}<b>{value}</b><small>{words}</small></div>"


def _row(metric: Mapping[str, Any], protocol: str) -> str:
    cells = (("", metric["name"]), (" class='v'", metric_text(metric)), (" class='p'", protocol))
    return "<tr>" + "".join(f"<td{kind}>{html_text(words)}</td>" for kind, words in cells) + "</tr>"


def _subgroups(metrics: Mapping[str, Any]) -> str:
    rows = metrics.get("subgroups") or []
    if not rows:
        return ""
    names = [metric["name"] for metric in rows[0]["figures"]]
    head = "".join(f"<th>{html_text(name)}</th>" for name in ("by", "group", "items", *names))
    body = []
    for row in rows:
        figures = {metric["name"]: metric_text(metric) for metric in row["figures"]}
        cells = [describe_fact(row["by"]), row["group"], str(row["items"]), *[figures.get(name, "") for name in names]]
        body.append("<tr>" + "".join(f"<td>{html_text(cell)}</td>" for cell in cells) + "</tr>")
    return f"<h2>By subgroup</h2><table><tr>{head}</tr>{''.join(body)}</table>"


def _worst(folder: ModelFolder) -> str:
    cases = folder.manifest["metrics"].get("worst") or []
    if not cases or SHEET not in folder.manifest["files"]:
        return ""
    picture = _base64(folder, SHEET)
    items = "".join(f"<li><code>{html_text(one['item'])}</code>: {html_text(one['words'])}</li>" for one in cases)
    return (
        "<h2>Where it fails</h2><p>The worst answers on the test part; white lines are the reference.</p>"
        f'<img class="worst" alt="The worst answers" src="data:image/jpeg;base64,{picture}"><ul>{items}</ul>'
    )


def _viewer(folder: ModelFolder) -> tuple[str, str]:
    """The viewer's place in the page, and the scripts at its end; both "" for models of pictures."""
    listed = folder.manifest["files"]
    code = viewer_bundle()
    if code is None or not all(name in listed for name in VOLUMES.values()):
        return "", ""
    labels = folder.manifest["labels"]
    names = task_of(folder.manifest["task"]).mask_names(labels)
    colours = [(0, 0, 0), *[colour_of(n) for n in range(len(names))]]
    document = {kind: _base64(folder, name) for kind, name in VOLUMES.items()} | {
        "colours": {
            **{channel: [colour[k] for colour in colours] for k, channel in enumerate("RGB")},
            "A": [0, *[255] * len(names)],
            "I": list(range(len(colours))),
            "labels": ["", *names],
        }
    }
    legend = "".join(
        f'<span class="swatch" style="background:rgb{colour_of(n)}"></span>{html_text(name)}'
        for n, name in enumerate(names)
    )
    worst = folder.manifest["metrics"]["worst"][0]
    words = html_text(f"{worst['item']}: {worst['words']}.")
    place = Template(_read("viewer/viewer.html")).substitute(words=words, legend=legend)
    scripts = (
        f'<script type="application/json" id="volumes">{json.dumps(document)}</script>'
        f"<script>{code}</script><script>{_read('viewer/viewer.js')}</script>"
    )
    return place, scripts


def _facts(manifest: Mapping[str, Any]) -> list[tuple[str, str]]:
    data, split = manifest["data"], manifest["split"]
    rows = [
        ("labels", ", ".join(manifest["labels"])),
        ("data", f"{data['type']}, {data['items']} items in {data['files']} files, SHA-256 {data['sha256']}"),
        ("licence", manifest.get("license") or "not stated"),
        (
            "split",
            f"by {split['group']}: {split['train']} train, {split['val']} val, {split['test']} test; "
            f"SHA-256 {split['digest']}",
        ),
    ]
    if "audit" in manifest:
        leaks = ", ".join(f"{count} {kind}" for kind, count in manifest["audit"]["leaks"].items())
        rows.append(("audit before training", f"{manifest['audit']['images']} images; leaks across the split: {leaks}"))
    if point := manifest.get("operating_point"):
        rows.append(("operating point", f"threshold {point['threshold']:.4g}: {point['rule']}"))
    rows.append(("calibration", describe_calibration(manifest)))
    if parity := manifest.get("parity"):
        largest = ", ".join(f"{name} {value:.2g}" for name, value in parity["largest"].items())
        rows.append(
            ("parity of ONNX and PyTorch", f"largest difference over {parity['inputs']} golden inputs: {largest}")
        )
    if training := manifest.get("training"):
        machine = manifest["environment"]["processor"]
        rows.append(("training", f"{training['steps']} steps in {training['seconds']:.0f} s, {machine}"))
        rows.append(("parameters", f"{manifest['model']['parameters']:,}"))
    rows += [
        (role, f"{member['name']}, graph {member['digest'][:16]}")
        for role, member in manifest.get("members", {}).items()
    ]
    if speed := manifest.get("speed"):
        best = min(speed["rows"], key=lambda row: row["p50_ms"])
        rows.append(
            ("speed", f"{best['p50_ms']:.3g} ms an input ({best['backend']}, {speed['environment']['processor']})")
        )
    return rows


def _base64(folder: ModelFolder, name: str) -> str:
    return base64.b64encode(folder.file(name).read_bytes()).decode()


def _read(name: str) -> str:
    return (files("medzoo.report") / name).read_text(encoding="utf-8")
