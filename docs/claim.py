"""Write docs/claim.md: hand-made features against deep ones, measured from the model folders in zoo/.

    python docs/claim.py            (or: make claim)

"Hand-made features need much manual work and recognise little; deep features need little and recognise much": the
same images, every model that lies in zoo/, paired intervals. The pictures and the k-means of the brain table need
the data ($MEDZOO_DATA); `make zoo-index` renews the tables alone and keeps both.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as Pillow

from medzoo.artifact import ModelFolder
from medzoo.data.opened import open_data
from medzoo.imaging.measures import holes
from medzoo.io.atomic import atomic_write
from medzoo.loading.load import load
from medzoo.metrics import Accumulator, ClassifyScores, Metric, Scope, Scores, paired_differences, read_scores
from medzoo.plots.sheet import in_rows, sheet_jpeg, tile
from medzoo.plots.three_views import three_views
from medzoo.recipe import load_recipe
from medzoo.report.sections import elsewhere_lines, metric_text
from medzoo.results import Classification, Detections, Segmentation
from medzoo.types import Array

ROOT = Path(__file__).resolve().parents[1]
ZOO = ROOT / "zoo"
IMAGES = ROOT / "docs" / "images"
KMEANS = ROOT / "docs" / "figures" / "kmeans.json"
REAL_HEAD = ROOT / "benchmarks" / "results" / "brain_scans.json"
# Model, protocol, words; the first is what the others are compared with.
CLASSIFIERS = (
    ("breast-mass-svm-classic", "machine-outline", "SVM of the slides: fifteen shape features of a found outline"),
    ("breast-mass-svm-classic", "expert-outline", "the same with the expert's outline"),
    ("breast-mass-svm", "machine-outline", "SVM on shape, texture, margin and echo of found outlines"),
    ("breast-ultrasound-alexnet", "", "AlexNet, trained from scratch"),
    ("breast-ultrasound-cnn", "", "EfficientNet, pretrained on ImageNet"),
)
DETECTORS = (
    ("breast-lesion-rcnn-classic", "R-CNN of 2014: proposals, CNN features, SVM"),
    ("breast-lesion-rcnn", "cascade Mask R-CNN of two stages on EfficientNet-Lite0, of BUSI and BUS-BRA"),
)
WHOLE = (
    ("breast-ultrasound-alexnet", "AlexNet"),
    ("breast-ultrasound-cnn", "EfficientNet"),
    ("breast-lesion-rcnn-classic", "R-CNN of 2014"),
    ("breast-lesion-rcnn", "cascade R-CNN"),
)
BRAINS = (("brain-tissue", "patch CNN"), ("brain-tissue-unet", "U-Net"))
RANKED = ("auc", "sensitivity-at-specificity-90")
TWO = ("benign", "malignant")
SOURCE = "busi/"
LESION_OR_NONE = ("normal", "lesion")


def stored(name: str) -> Scores | None:
    """A zoo model's answers, None where it is not there yet; of a model of several sources those on BUSI, by the names
    that its pictures have there."""
    path = ZOO / name / "evaluation.json"
    if not path.is_file():
        return None
    document = json.loads(path.read_text(encoding="utf-8"))
    if not any(item.startswith(SOURCE) for item in document["facts"]):
        return read_scores(path)
    document["facts"] = {k.removeprefix(SOURCE): v for k, v in document["facts"].items() if k.startswith(SOURCE)}
    for protocol in document["protocols"].values():
        protocol["records"] = [
            {**record, "item": record["item"].removeprefix(SOURCE)}
            for record in protocol["records"]
            if record["item"].startswith(SOURCE)
        ]
    with tempfile.TemporaryDirectory() as folder:
        alone = Path(folder) / path.name
        alone.write_text(json.dumps(document), encoding="utf-8")
        return read_scores(alone)


def two_classes(scores: Scores, protocol: str) -> ClassifyScores:
    """Benign against malignant: normal pictures left out, the two probabilities made to sum to one."""
    one = scores.protocols[protocol]
    made = ClassifyScores(TWO, RANKED)
    labels = scores.scope.labels
    places = [labels.index(label) for label in TWO]
    for record in one.records():
        if labels[record["truth"]] in TWO:
            pair = np.array([record["probabilities"][k] for k in places])
            truth = TWO.index(labels[record["truth"]])
            made.add(truth, pair / max(pair.sum(), 1e-12), item=record["item"], group=record["group"])
    return made


def lesion_or_none(scores: Scores) -> ClassifyScores:
    """Normal pictures against those with a lesion: a classifier's 1 - P(normal), the score of a detector's best box."""
    made = ClassifyScores(LESION_OR_NONE, RANKED)
    for record in scores.main.records():
        if scores.scope.task == "detect":
            there, p = bool(record["objects"]["labels"]), max(record["found"]["scores"], default=0.0)
        else:
            normal = scores.scope.labels.index("normal")
            there, p = record["truth"] != normal, 1 - record["probabilities"][normal]
        made.add(int(there), np.array([1 - p, p]), item=record["item"], group=record["group"])
    return made


def only(scores: ClassifyScores, items: set[str]) -> ClassifyScores:
    """The scores of some items."""
    made = ClassifyScores(scores.labels, RANKED)
    for record in scores.records():
        if record["item"] in items:
            made.restore(record)
    return made


def table(rows: Sequence[tuple[str, str, Accumulator]], *, shown: Sequence[str]) -> Iterator[str]:
    """Metrics of each row, and their paired differences to the first."""
    yield f"| model | {' | '.join(f'{name} | difference to the first row' for name in shown)} |"
    yield f"| --- {'| --- | --- ' * len(shown)}|"
    first = rows[0][2]
    for place, (name, words, scores) in enumerate(rows):
        figures = {figure.name: figure for figure in scores.metrics()}
        against = {figure.name: figure for figure in paired_differences(scores, first)} if place else {}
        cells = [f"{_text(figures[one])} | {_text(against[one]) if one in against else ''}" for one in shown]
        yield f"| `{name}`: {words} | {' | '.join(cells)} |"


def _text(figure: Metric) -> str:
    return metric_text(figure.to_dict())


def breasts() -> tuple[list[str], list[str]]:
    """The table of BUSI's masses, and the items that all its models were tested on."""
    found = []
    for name, protocol, words in CLASSIFIERS:
        scores = stored(name)
        if scores is not None and protocol in scores.protocols:
            found.append((name, words, two_classes(scores, protocol)))
    common = set.intersection(*(set(scores.items) for _, _, scores in found))
    rows = [(name, words, only(scores, common)) for name, words, scores in found]
    malignant = int(rows[0][2].truth.sum())
    lines = [
        "## Benign or malignant, on BUSI",
        "",
        f"The {len(common)} masses ({malignant} malignant) in the test part of every model below: all are scored on "
        "the same pictures, and none was trained on them. Intervals resample groups of near-duplicates.",
        "",
        *table(rows, shown=RANKED),
    ]
    return lines, sorted(common)


def whole() -> list[str]:
    """The table of classifiers beside detectors, on the question that both answer."""
    found = [(name, words, lesion_or_none(scores)) for name, words in WHOLE if (scores := stored(name)) is not None]
    if not found:
        return []
    common = set.intersection(*(set(scores.items) for _, _, scores in found))
    rows = [(name, words, only(scores, common)) for name, words, scores in found]
    lesions = int(rows[0][2].truth.sum())
    return [
        "## Is there a lesion, on BUSI",
        "",
        f"The {len(common)} pictures ({lesions} with a lesion) in the test part of every model below. A classifier "
        "ranks pictures by 1 - P(normal), a detector by the score of its best box.",
        "",
        *table(rows, shown=RANKED),
    ]


def boxes() -> list[str]:
    """The table of the detectors."""
    found = [(name, words, scores) for name, words in DETECTORS if (scores := stored(name)) is not None]
    if not found:
        return []
    common = set.intersection(*(set(scores.items) for _, _, scores in found))
    rows = [(name, words, scores.only(common, metrics=("ap50", "cpm")).main) for name, words, scores in found]
    return [
        "## Where is the lesion, on BUSI",
        "",
        f"The same {len(common)} pictures, normal ones included.",
        "",
        *table(rows, shown=("ap50", "cpm")),
    ]


def kmeans(values: Array, *, classes: int = 3) -> Array:
    """Tissue by grey value alone: 1 the darkest of `classes` clusters inside the brain; (*spatial) uint8.

    Zeros that a brain surrounds are dark fluid and inside, as they are for the models (medzoo.runtime.predictor).
    """
    from scipy.cluster.vq import kmeans2

    inside = values > 0
    inside |= holes(inside)
    grey = values[inside].astype(np.float64)
    start = np.percentile(grey, [100 * (k + 0.5) / classes for k in range(classes)])
    centres, _ = kmeans2(grey[:: max(1, len(grey) // 100_000), None], start[:, None], minit="matrix", iter=50)
    edges = np.sort(centres[:, 0])
    answer = np.zeros(values.shape, np.uint8)
    answer[inside] = 1 + np.digitize(grey, (edges[1:] + edges[:-1]) / 2)
    return answer


def measured_kmeans(like: Scores, *, fresh: bool) -> Scores | None:
    """k-means on the test scans of `like`: measured if `fresh`, for scans are made anew where their generator
    changed; else as stored; None where neither is possible."""
    if KMEANS.is_file() and not fresh:
        known = read_scores(KMEANS)
        if known.scope.split_digest == like.scope.split_digest:
            return known
    if not fresh:
        return None
    data = open_data(load_recipe(ZOO / like.scope.model / "recipe.yaml"))
    scope = like.scope
    made = Scores(Scope("k-means", scope.task, scope.labels, ("dice", "hd95"), None, scope.seed, scope.group,
                        scope.split, scope.split_digest))  # fmt: skip
    for item in data.part("test"):
        sample = data.data.load(item)
        grey = sample.image.array[0]
        made.accumulator_of("").add(
            sample.target, kmeans(grey), item=item.id, group=item.groups.get(scope.group),
            spacing=sample.image.spacing,
        )  # fmt: skip
    atomic_write(KMEANS, lambda file: file.write(made.to_bytes()))
    return made


def brains(*, fresh: bool) -> list[str]:
    """The table of the brain models beside k-means, on the scans that all were tested on."""
    found = [(name, words, scores) for name, words in BRAINS if (scores := stored(name)) is not None]
    if not found:
        return []
    baseline = measured_kmeans(found[0][2], fresh=fresh)
    if baseline is not None:
        found.insert(0, ("k-means", "three clusters of grey values inside the brain", baseline))
    common = set.intersection(*(set(scores.items) for _, _, scores in found))
    if not common:
        return []
    names = ("dice", "hd95")
    rows = [(name, words, scores.only(common, metrics=names).main) for name, words, scores in found]
    return [
        "## Tissue of the brain",
        "",
        f"{len(common)} synthetic scans, made from label maps of people that training did not see; HD95 in mm. "
        "With so few people an interval says little about others.",
        "",
        *table(rows, shown=("dice", "dice/csf", "dice/grey-matter", "dice/white-matter", "hd95")),
    ]


def real_head() -> dict[str, Any] | None:
    """Dice on one real head, as `python -m benchmarks.brain_scans` left it, in the form of a manifest's `elsewhere`:
    what it was measured on, by which metric, and a row of values for each method."""
    if not REAL_HEAD.is_file():
        return None
    dice = json.loads(REAL_HEAD.read_text(encoding="utf-8"))["real head"]
    names = {"k-means": "k-means", "Otsu": "Otsu's two thresholds"} | {name: f"`{name}`" for name, _ in BRAINS}
    return {
        "on": f"On a real head (MNI152, the average of 152 people, its {dice['shape'][2]} middle slices), beside "
        "k-means and Otsu's thresholds, which learn nothing; its tissue maps were drawn by nobody, but averaged from "
        "automatic classifications, which favours grey values.",
        "metric": "Dice",
        "rows": {words: dice[key] for key, words in names.items()},
    }


def breast_pictures(common: Sequence[str], *, fresh: bool) -> list[tuple[str, str]]:
    """Words and file of one benign and one malignant mass as every model sees them; not chosen: the first by name
    that is wider than high, for the sheet's sake."""
    data = Path(os.environ.get("MEDZOO_DATA", ROOT / "data")) / "busi"
    names = list(dict.fromkeys(name for name, *_ in (*CLASSIFIERS, *DETECTORS) if (ZOO / name).is_dir()))
    found = []
    for label in TWO:
        path = IMAGES / f"claim-{label}.jpg"
        if fresh:
            picture = next(data / item for item in common if item.startswith(label) and _is_wide(data / item))
            tiles = [_answered(name, picture) for name in names]
            raw = sheet_jpeg(in_rows(tiles, 3))
            atomic_write(path, lambda file, raw=raw: file.write(raw))  # type: ignore[misc]
        if path.is_file():
            found.append((f"A {label} mass as each model sees it", path.name))
    return found


def _is_wide(path: Path) -> bool:
    with Pillow.open(path) as picture:
        return picture.width > 1.2 * picture.height


def _answered(name: str, picture: Path) -> Pillow.Image:
    """A tile of what a zoo model answers, its words above the picture where they all stand."""
    result = load(ZOO / name).predict(picture)
    if isinstance(result, Detections):
        words = f"{len(result)} found" if len(result) else "nothing found"
    else:
        assert isinstance(result, Classification)
        words = f"called {result.label}"
    with tempfile.TemporaryDirectory() as folder:
        drawn = result.plot(Path(folder) / "drawn.png", title=words)
        return tile(Pillow.open(drawn).convert("RGB"), name)


def brain_picture(*, fresh: bool) -> str | None:
    """The test scan that the patch CNN answers worst: truth, k-means, patch CNN and U-Net, at its own resolution."""
    path = IMAGES / "claim-brain.jpg"
    if fresh and all((ZOO / name).is_dir() for name, _ in BRAINS):
        worst = ModelFolder.open(ZOO / BRAINS[0][0]).manifest["metrics"]["worst"][0]["item"]
        data = open_data(load_recipe(ZOO / BRAINS[0][0] / "recipe.yaml"))
        sample = data.data.load(next(item for item in data.part("test") if item.id == worst))
        scan = sample.image
        masks = {"truth": np.asarray(sample.target, np.uint8), "k-means": kmeans(scan.array[0])}
        for name, words in BRAINS:
            answer = load(ZOO / name).predict(scan)
            assert isinstance(answer, Segmentation)
            masks[words] = answer.mask
        assert scan.affine is not None
        middle = scan.affine @ [*np.argwhere(masks["truth"] == 1).mean(axis=0), 1]  # of the fluid
        figures = (three_views(scan, mask=mask, labels=answer.labels, at=middle[:3]) for mask in masks.values())
        tiles = [tile(figure, name, width=600) for figure, name in zip(figures, masks, strict=True)]
        raw = sheet_jpeg(in_rows(tiles, 2))
        atomic_write(path, lambda file: file.write(raw))
    return path.name if path.is_file() else None


def page(*, fresh: bool) -> str:
    """The whole page. `fresh`: draw the pictures and measure k-means again, which needs the data."""
    table_of_breasts, common = breasts()
    parts = [
        "# Hand-made features and deep ones",
        '"Hand-made features need much manual work and recognise little; deep features need little and recognise '
        'much." '
        "So said the slides on medical image recognition whose methods medzoo began with: masses by features and an "
        "SVM, AlexNet, a patch CNN for brain tissue, region CNNs. "
        "Here those models and later ones are compared on the same images. `make claim` computes every metric from the "
        "predictions in the model folders, with 95 % intervals; differences are paired.",
        "\n".join(table_of_breasts),
        "On BUSI an expert's outline gives much of the class away (benign masses were drawn round). Networks see the "
        "picture alone, so compare them with the rows on found outlines.",
    ]
    parts += [f"![{words}](images/{picture})" for words, picture in breast_pictures(common, fresh=fresh)]
    for lines in (whole(), boxes(), brains(fresh=fresh)):
        if lines:
            parts.append("\n".join(lines))
    if picture := brain_picture(fresh=fresh):
        parts.append(f"![A test scan: truth, k-means, patch CNN, U-Net](images/{picture})")
    if found := real_head():
        parts.append("\n".join(elsewhere_lines(found)))
    absent = [name for name, *_ in (*CLASSIFIERS, *DETECTORS, *BRAINS) if stored(name) is None]
    if absent:
        parts.append(f"Not measured yet: {', '.join(f'`{name}`' for name in dict.fromkeys(absent))}.")
    return "\n\n".join(parts) + "\n"


def write(*, fresh: bool) -> None:
    """docs/claim.md anew."""
    text = page(fresh=fresh)
    atomic_write(ROOT / "docs" / "claim.md", lambda file: file.write(text.encode()))


if __name__ == "__main__":
    write(fresh=True)
