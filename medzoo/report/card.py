"""The model card: README.md of a model folder, generated from the manifest and written with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medzoo.artifact import ModelFolder, write_folder
from medzoo.report.sections import (
    describe_calibration,
    elsewhere_section,
    findings_section,
    format_number,
    metric_text,
    protocols_note,
    regions_section,
    retrain_command,
    shared_interval,
    speed_section,
    subgroups_section,
    tissue_section,
    worst_section,
)

_DISCLAIMER = "Not a medical device. For research and teaching; not cleared for diagnosis or treatment of patients."


def render_card(manifest: Mapping[str, Any]) -> str:
    """Markdown. `manifest`: as in manifest.json, with or without its list of files."""
    sections = [
        f"# {manifest['name']}",
        manifest.get("summary") or f"A model for task {manifest['task']}.",
        f"**{_DISCLAIMER}**",
        _uses(manifest),
        _measured(manifest["metrics"]),
        elsewhere_section(manifest.get("elsewhere")),
        tissue_section(manifest["metrics"]),
        subgroups_section(manifest["metrics"]),
        _calibration(manifest),
        worst_section(manifest["metrics"]),
        findings_section(manifest.get("training", {})),
        regions_section(manifest.get("training", {})),
        _members(manifest) if "members" in manifest else "",
        _data(manifest),
        _parity(manifest["parity"]) if "parity" in manifest else "",
        _precisions(manifest.get("precisions", {})),
        speed_section(manifest.get("speed")),
        _training(manifest),
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


def _uses(manifest: Mapping[str, Any]) -> str:
    lines = ["## What it is for, and what not", ""]
    if manifest.get("intended"):
        lines += [manifest["intended"], ""]
    lines += [
        f"Not for diagnosis or treatment, and not for anything unlike its data: what stands below was measured on "
        f"`{manifest['data']['type']}` alone.",
        "",
        f"Task: {manifest['task']}. Labels: {', '.join(manifest['labels'])}.",
    ]
    lines += ["", "```sh", f"medzoo predict {manifest['name']} INPUT -o predictions", "```"]
    point = manifest.get("operating_point")
    if point:
        lines += ["", f"Operating threshold {point['threshold']:.4g}, chosen as: {point['rule']}."]
    sets = (manifest.get("calibration") or {}).get("conformal")
    if sets:
        lines += [
            "",
            "Not sure: the answer comes with the labels that cannot be ruled out (`label_set`, those from "
            f"probability {sets['threshold']:.3f} on), chosen on {manifest['calibration']['items']} items that "
            "the networks answering for them had not learned from, so that "
            f"{100 * sets['coverage']:.0f} % of the sets hold the truth; `coverage` below is what the test part shows.",
        ]
    return "\n".join(lines)


def _measured(metrics: Mapping[str, Any]) -> str:
    figures: Sequence[Mapping[str, Any]] = metrics["figures"]
    protocols, interval = shared_interval([metric["protocol"] for metric in figures])
    lines = [
        "## Measured",
        "",
        f"On the {metrics['split']} part ({metrics['items']} items), which training did not see. "
        f"In brackets the 95 % interval{f': {interval}' if interval else ', where there is one'}."
        + (f" Scored against: {metrics['scored']}." if metrics.get("scored") else ""),
        "",
        "| figure | value | protocol |",
        "| --- | --- | --- |",
        *[
            f"| {metric['name']} | {metric_text(metric)} | {protocol} |"
            for metric, protocol in zip(figures, protocols, strict=True)
        ],
    ]
    if note := protocols_note(figures):
        lines += ["", note]
    return "\n".join(lines)


def _calibration(manifest: Mapping[str, Any]) -> str:
    """Section on calibration: the method, and if predictions made with 80 % confidence are right 8 times in 10."""
    parts = [f"{_sentence(describe_calibration(manifest))}."]
    for protocol, rows in manifest["metrics"].get("reliability", {}).items():
        parts += [
            "",
            f"{_sentence(protocol.replace('-', ' ')) or 'Test part'}, in bins of the highest probability:",
            "",
            "| mean confidence | right (95 % interval, Wilson) | items |",
            "| --- | --- | --- |",
            *[f"| {format_number(row['confidence'])} | {_share(row)} | {row['n']} |" for row in rows],
        ]
    return "\n".join(["## Calibration", "", *parts])


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _share(row: Mapping[str, Any]) -> str:
    return metric_text({"value": row["accuracy"], "low": row["low"], "high": row["high"]})


def _data(manifest: Mapping[str, Any]) -> str:
    data, split = manifest["data"], manifest["split"]
    counts = ", ".join(f"{split[part]} {part}" for part in ("train", "val", "test"))
    lines = [
        "## Data",
        "",
        f"Type `{data['type']}`, {data['items']} items in {data['files']} files "
        f"(SHA-256 `{data['sha256'][:16]}`). Licence: {manifest.get('license') or 'not stated'}.",
        "",
        f"Split by group `{split['group']}`: {counts} items (SHA-256 `{split['digest'][:16]}`).",
    ]
    if "audit" in manifest:
        lines += ["", _leaks(manifest["audit"])]
    return "\n".join(lines)


def _leaks(audit: Mapping[str, Any]) -> str:
    """Section on leaks: what the audit before the training found on two sides of the split."""
    words = {"patient": "of the same patient", "identical": "of the same bytes", "near": "of the same content"}
    found = [f"{count} {words[kind]}" for kind, count in audit["leaks"].items() if count]
    if not found:
        return (
            f"Before the training its {audit['images']} images were audited: none, and no near-duplicate of one, "
            "is on two sides of the split."
        )
    return (
        f"**The split leaks, and the recipe allowed it (`allow_leaks`)**: {', '.join(found)} (pairs on two sides). "
        "The figures above are better than on images that are really new."
    )


def _members(manifest: Mapping[str, Any]) -> str:
    members, judges = manifest["members"], manifest["metrics"]["judges"]
    rows = [f"| {role} | {member['name']} | `{member['digest'][:16]}` |" for role, member in members.items()]
    measured = [f"| {f['name']} | {metric_text(f)} | {f['protocol']} |" for f in judges]
    return "\n".join(
        [
            "## Members",
            "",
            "Models of their own, named by the SHA-256 of their graphs; another version of one is refused. Their own "
            "cards say how fast they are and how they were trained.",
            "",
            "| role | model | graph |",
            "| --- | --- | --- |",
            *rows,
            "",
            "How well they tell benign from malignant, of the lesions that were found:",
            "",
            "| figure | value | protocol |",
            "| --- | --- | --- |",
            *measured,
        ]
    )


def _parity(parity: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {parity['largest'][name]:.2g} | {parity['allowed'][name]:g} |" for name in parity["largest"]]
    return "\n".join([
        "## ONNX against torch",
        "",
        f"Largest difference over {parity['inputs']} golden inputs of several batches and sizes, "
            f"{parity['precision']}." + _undecided(parity),
        "",
        "| output | largest difference | allowed |",
        "| --- | --- | --- |",
        *rows,
    ])  # fmt: skip


def _undecided(parity: Mapping[str, Any]) -> str:
    if not parity.get("undecided"):
        return ""
    return (
        f" {parity['undecided']} of their pictures had to be shifted by some pixels first: torch itself answered them "
        "otherwise once they moved by a millionth, because two boxes were equally good."
    )


def _precisions(precisions: Mapping[str, Any]) -> str:
    """Section on fp16 and int8: the change of outputs, and of the metric on the validation part."""
    if not precisions:
        return ""
    lines = [
        "## Fewer bits",
        "",
        "Weights and arithmetic of fp16 in half precision, of int8 in whole numbers with ranges measured on training "
        "data, of bf16 (torch) with the range of float32 and 8 bits of its digits; inputs and outputs float32. "
        "Compared with torch in float32 on the golden inputs and on some of the "
        "validation part; the metric is that of the validation part, beside float32.",
        "",
        "| precision | metric | float32 | fewer bits | loss, allowed | largest differences (allowed) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, report in precisions.items():
        metric, parity = report["metric"], report["parity"]
        apart = ", ".join(
            f"{key} {parity['largest'][key]:.2g} ({parity['allowed'][key]:g})" for key in parity["largest"]
        )
        lines.append(
            f"| {name} | {metric['name']}, {metric['items']} items | {metric['fp32']:.4f} | {metric[name]:.4f} "
            f"| {metric['loss']:.4f}, {metric['allowed']:g} | {apart} |"
        )
    return "\n".join(lines)


def _training(manifest: Mapping[str, Any]) -> str:
    made = manifest["environment"]
    packages = made["packages"]
    wanted = [f"{name} {packages[name]}" for name in ("torch", "pytorch-lightning", "onnx") if name in packages]
    devices = "".join(f"{count} x {name}, " for name, count in Counter(made.get("gpus", ())).items())
    machine = f"{devices}{made['cores']} cores of {made['processor']} ({', '.join(wanted)})"
    known = f"seed {manifest['seed']}, recipe SHA-256 `{manifest['recipe_digest'][:16]}`"
    if "training" in manifest:
        training = manifest["training"]
        steps = f"{training['steps']} steps" if training["steps"] > 1 else "Solved in one step"
        words = f"{steps} in {training['seconds']:.0f} s on {machine}, {known}."
        if start := manifest.get("model", {}).get("started_from"):
            words += f" Started from the weights `{start['name']}` (SHA-256 `{start['sha256'][:16]}`)."
        heading = "Again, from its own recipe, split and seed; it names whatever comes out otherwise:"
    else:
        words = f"Nothing was trained; put together and measured on {machine}, {known}."
        heading = "Again:"
    return "\n".join(["## Training", "", words, "", heading, "", "```sh", retrain_command(manifest), "```"])


CARD = "README.md"


def write_with_card(path: Path, files: Mapping[str, bytes | Path], manifest: Mapping[str, Any]) -> ModelFolder:
    """Write `files`, the manifest and its card to a model folder, all or nothing. Raises UserError."""
    return write_folder(path, {**files, CARD: render_card(manifest).encode()}, manifest)


def update_folder(
    folder: ModelFolder, *, files: Mapping[str, bytes | Path] | None = None, **changes: Any
) -> ModelFolder:
    """Replace fields of a folder's manifest and some of its files, and render its card again. Raises UserError."""
    manifest = {name: value for name, value in folder.manifest.items() if name != "files"} | changes
    kept: dict[str, bytes | Path] = {name: folder.file(name) for name in folder.manifest["files"]}
    return write_with_card(folder.path, {**kept, **(files or {})}, manifest)
