"""The report page: everything in one file, and in a real browser the viewer scrolls slices and toggles the mask."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Pillow

from medzoo.artifact import ModelFolder, write_folder
from medzoo.data.dataset import Item, Objects, Sample
from medzoo.evaluation.worst import _volumes
from medzoo.metrics import Boxes, Scope, Scores
from medzoo.report.page import render_page, viewer_bundle
from medzoo.results import Segmentation
from medzoo.types import Array, Image

ROOT = Path(__file__).resolve().parents[3]
LABELS = ("background", "ball")


def ball(radius: float) -> Array:
    """(48, 40, 32) uint8, 1 inside a ball about the middle."""
    i, j, k = np.indices((48, 40, 32))
    inside: Array = ((i - 24) ** 2 + (j - 20) ** 2 + (k - 16) ** 2 < radius**2).astype(np.uint8)
    return inside


def answered(task: str) -> Scores:
    """Ten items of a task, some predicted badly."""
    labels = {"segment": LABELS, "classify": ("benign", "malignant"), "detect": ("lesion",)}[task]
    metrics = {"segment": ("dice",), "classify": ("auc",), "detect": ("ap50", "cpm")}[task]
    scores = Scores(Scope("made", task, labels, metrics, 0.5))
    random = np.random.default_rng(1)
    for k in range(10):
        where = {"item": f"i{k}", "group": f"g{k}"}
        if task == "segment":
            truth = random.integers(0, 2, (6, 6))
            scores.accumulator_of("").add(truth, truth * (random.random((6, 6)) < 0.8), **where)
        elif task == "classify":
            p = float(random.random() * 0.6 + 0.4 * (k % 2))
            scores.accumulator_of("").add(k % 2, [1 - p, p], **where)
        else:
            there = Objects(np.array([[0.0, 0, 10, 10]]), np.zeros(1, int))
            found = Boxes(np.array([[0.0, 0, 10, 9], [20, 20, 30, 30]]), np.zeros(2, int), random.random(2))
            scores.accumulator_of("").add(there, found, **where)
    return scores


def folder(path: Path, task: str, *, volume: bool = False) -> ModelFolder:
    """A model folder with just what a page is made from."""
    scores = answered(task)
    files = {"evaluation.json": scores.to_bytes()}
    cases = []
    if volume:
        grey = 40 + 100 * ball(14).astype(np.float32)
        image = Image(grey[None], np.diag([1.0, 1, 1, 1]), "scan")
        result = Segmentation(input="scan", model="made", mask=ball(10), labels=LABELS, image=image)
        files |= _volumes(Sample(Item("scan", {}), image, ball(12)), result.mask, ball(12))
        cases = [{"item": "scan <b>", "words": "Dice ball 0.72"}]
    zeros = "0" * 64
    manifest = {
        "name": "made",
        "task": task,
        "labels": list(scores.scope.labels),
        "summary": "A <made> model.",
        "intended": "Nothing.",
        "license": "none",
        "model": {"type": "made", "parameters": 12},
        "recipe_digest": zeros,
        "metrics": {
            "split": "test",
            "items": 10,
            "figures": [figure.to_dict() for figure in scores.metrics()],
            "worst": cases,
        },
        "parity": {"inputs": 3, "precision": "fp32", "largest": {"x": 1e-6}, "allowed": {"x": 1e-4}},
        "data": {"type": "made", "items": 20, "files": 20, "sha256": zeros},
        "split": {"group": "patient", "digest": zeros, "train": 8, "val": 2, "test": 10},
        "training": {"steps": 3, "seconds": 1.0, "curve": [[1, 2.0, None], [2, 1.5, 1.7], [3, 1.2, None]]},
        "environment": {"processor": "made", "cores": 1, "packages": {}},
        "seed": 0,
    }
    return write_folder(path, files, manifest)


@pytest.mark.parametrize(
    ("task", "plots"),
    [("classify", ("ROC", "reliability", "training")), ("detect", ("FROC", "precision and recall")),
     ("segment", ("dice by label",))],
)  # fmt: skip
def test_the_page_holds_metrics_and_plots_and_loads_nothing(tmp_path: Path, task: str, plots: tuple[str, ...]) -> None:
    page = render_page(folder(tmp_path, task), version="1")
    for figure in json.loads((tmp_path / "manifest.json").read_text())["metrics"]["figures"]:
        assert f"<td>{figure['name']}</td>" in page
        assert f"{figure['value']:.3f}" in page
    for plot in plots:
        assert f'aria-label="{plot}' in page
    assert "A &lt;made&gt; model." in page
    assert not re.search(r"(src|href)=[\"'](?!data:)", page), "something is loaded from elsewhere"


def screenshot(page: str, path: Path) -> tuple[str, Array]:
    """The page's document and its picture (H, W, 3), after it has run in headless Chromium."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed here")
    file = path.with_suffix(".html")
    file.write_text(page, encoding="utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1000,1000"]
    command += ["--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
    command += [f"--user-data-dir={path}.profile", "--virtual-time-budget=15000", f"--screenshot={path}"]
    done = subprocess.run([*command, "--dump-dom", file.as_uri()], capture_output=True, text=True, timeout=180)
    return done.stdout, np.asarray(Pillow.open(path).convert("RGB")).astype(int)


def orange(picture: Array) -> int:
    """Pixels in the hue of the first label, laid over grey."""
    r, g, b = picture[..., 0], picture[..., 1], picture[..., 2]
    return int(((r > g + 25) & (g > b + 25)).sum())


def test_the_viewer_shows_slices_and_toggles_the_mask(tmp_path: Path) -> None:
    if viewer_bundle() is None:
        pytest.skip("the viewer's bundle is not here: make viewer")
    page = render_page(folder(tmp_path / "model", "segment", volume=True), version="1")
    assert "scan &lt;b&gt;: Dice ball 0.72." in page

    def after(code: str, name: str) -> tuple[str, int]:
        ready = "if (window.medzooViewer) { clearInterval(wait); CODE }".replace("CODE", code)
        hand = f"<script>const wait = setInterval(() => {{ {ready} }}, 50);</script>"
        head, end = page.rsplit("</body>", 1)
        dom, picture = screenshot(f"{head}{hand}</body>{end}", tmp_path / f"{name}.png")
        state = re.search(r'id="viewer-state"[^>]*>([^<]*)', dom)
        assert state is not None
        return state[1], orange(picture)

    words, shown = after("", "answer")
    assert words.startswith("showing answer at ")
    assert shown > 3000
    words, none = after("document.getElementById('answer').click();", "none")
    assert words.startswith("showing the scan alone at ")
    assert none < shown / 10
    slide = "const s = document.getElementById('slice'); s.value = 0.02; s.dispatchEvent(new Event('input'));"
    moved, outside = after(slide, "moved")
    assert moved != words
    assert 0 < outside < shown * 0.8, "the axial plane left the ball, the two others did not"
    both, reference = after("document.getElementById('truth').click();", "truth")
    assert both.startswith("showing answer and reference at ")
    assert reference > shown, "the reference is larger than the answer"
