"""The model card: README.md of a model folder, generated from the manifest and written with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from medzoo.artifact import ModelFolder, write_folder
from medzoo.artifact.manifest import is_non_commercial
from medzoo.report.sections import (
    beside_section,
    describe_calibration,
    elsewhere_section,
    findings_section,
    format_number,
    guard_section,
    local_section,
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
        _commerce(manifest.get("license", "")),
        _uses(manifest),
        _measured(manifest["metrics"]),
        beside_section(manifest.get("beside")),
        elsewhere_section(manifest.get("elsewhere")),
        tissue_section(manifest["metrics"]),
        subgroups_section(manifest["metrics"]),
        _calibration(manifest),
        local_section(manifest),
        guard_section(manifest.get("guard")),
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


def _commerce(licence: str) -> str:
    """The warning of a model whose training data forbid commercial use."""
    if not is_non_commercial(licence):
        return ""
    return (
        f"**For non-commercial use alone**: its weights carry the licence of the data they were trained on, {licence}. "
        "No wheel of medzoo holds them; `medzoo fetch` brings them."
    )


def _uses(manifest: Mapping[str, Any]) -> str:
    lines = ["## Intended use", ""]
    if manifest.get("intended"):
        lines += [manifest["intended"], ""]
    lines += [
        f"Not for diagnosis or treatment, nor for images unlike its data: the metrics below were measured on "
        f"`{manifest['data']['type']}` only.",
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
            "Each prediction comes with a conformal set, the labels that cannot be ruled out (`label_set`: those of "
            f"probability {sets['threshold']:.3f} or more). The limit was chosen on {manifest['calibration']['items']} "
            f"items that the networks had not learned from, so that {100 * sets['coverage']:.0f} % of the sets contain "
            "the truth; `coverage` below is that of the test part.",
        ]
    return "\n".join(lines)


def _measured(metrics: Mapping[str, Any]) -> str:
    figures: Sequence[Mapping[str, Any]] = metrics["figures"]
    protocols, interval = shared_interval([metric["protocol"] for metric in figures])
    lines = [
        "## Metrics",
        "",
        f"On the {metrics['split']} part ({metrics['items']} items), which was not used in training. "
        f"In brackets, the 95 % interval{f': {interval}' if interval else ', where there is one'}."
        + (f" Scored against: {metrics['scored']}." if metrics.get("scored") else ""),
        "",
        "| metric | value | protocol |",
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
            "| mean confidence | accuracy (95 % interval, Wilson) | items |",
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
    if folds := split.get("folds"):
        lines[-1] = (
            f"Split by group `{split['group']}` into {folds} folds, from each of which one member did not learn. The "
            "figures above are those of single members, each on the items of its own fold; all of them together have "
            "no item left that none of them saw."
        )
    if "audit" in manifest:
        lines += ["", _leaks(manifest["audit"])]
    return "\n".join(lines)


def _leaks(audit: Mapping[str, Any]) -> str:
    """Section on leaks: what the audit before the training found on two sides of the split."""
    words = {"patient": "of the same patient", "identical": "of the same bytes", "near": "of the same content"}
    found = [f"{count} {words[kind]}" for kind, count in audit["leaks"].items() if count]
    if not found:
        return (
            f"An audit of the {audit['images']} images before training found none, and no near-duplicate of one, in "
            "two parts of the split."
        )
    return (
        f"**The split leaks, and the recipe allowed it (`allow_leaks`)**: {', '.join(found)} (pairs across parts). "
        "The metrics above are better than they would be on new images."
    )


def _members(manifest: Mapping[str, Any]) -> str:
    members, judges = manifest["members"], manifest["metrics"]["judges"]
    rows = [f"| {role} | {member['name']} | `{member['digest'][:16]}` |" for role, member in members.items()]
    measured = [f"| {f['name']} | {metric_text(f)} | {f['protocol']} |" for f in judges]
    return "\n".join(
        [
            "## Members",
            "",
            "Released models, named by the SHA-256 of their graphs; another version of one is refused. Their own "
            "cards give their speed and training.",
            "",
            "| role | model | graph |",
            "| --- | --- | --- |",
            *rows,
            "",
            "How well they separate benign from malignant among the lesions that were found:",
            "",
            "| metric | value | protocol |",
            "| --- | --- | --- |",
            *measured,
        ]
    )


def _parity(parity: Mapping[str, Any]) -> str:
    rows = [f"| {name} | {parity['largest'][name]:.2g} | {parity['allowed'][name]:g} |" for name in parity["largest"]]
    return "\n".join([
        "## Parity of ONNX and PyTorch",
        "",
        f"Largest differences over {parity['inputs']} golden inputs, in batches of several sizes, at "
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
        f" {parity['undecided']} of the pictures were shifted by a few pixels first, because two of their boxes tied: "
        "noise of a millionth changed PyTorch's own result."
    )


def _precisions(precisions: Mapping[str, Any]) -> str:
    """Section on fp16 and int8: the change of outputs, and of the metric on the validation part."""
    if not precisions:
        return ""
    lines = [
        "## Lower precision",
        "",
        "fp16 computes in half precision, int8 in integers whose ranges were measured on training data, bf16 (PyTorch "
        "only) with the range of float32 and 8 significant bits. Inputs and outputs stay float32. Outputs are compared "
        "with PyTorch's in float32 on the golden inputs and on some validation items; the metric is that of the "
        "validation part.",
        "",
        "| precision | metric | float32 | this precision | loss (allowed) | largest differences (allowed) |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for name, report in precisions.items():
        metric, parity = report["metric"], report["parity"]
        differences = ", ".join(
            f"{key} {parity['largest'][key]:.2g} ({parity['allowed'][key]:g})" for key in parity["largest"]
        )
        lines.append(
            f"| {name} | {metric['name']}, {metric['items']} items | {metric['fp32']:.4f} | {metric[name]:.4f} "
            f"| {metric['loss']:.4f} ({metric['allowed']:g}) | {differences} |"
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
        steps = f"{training['steps']} steps" if training["steps"] > 1 else "Fitted in closed form"
        words = f"{steps} in {training['seconds']:.0f} s on {machine}, {known}."
        if start := manifest.get("model", {}).get("started_from"):
            words += f" Initialised with the weights `{start['name']}` (SHA-256 `{start['sha256'][:16]}`)."
        heading = "To train it again from its own recipe, split and seed, and list what differs:"
    else:
        words = f"Assembled from trained models and evaluated on {machine}, {known}."
        heading = "To assemble it again:"
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
