"""The tutorials of docs/ run as they stand: code is executed, files are written, commands must succeed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Pillow

from medzoo.cli import main
from medzoo.errors import UserError
from medzoo.results import Classification, Failure
from medzoo.types import GridTransform
from medzoo.writer import WriterOptions

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = sorted(ROOT.glob("docs/tutorials/*.md"))
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "export/README.md")]
PAGES += sorted(ROOT.glob("docs/**/*.md"))
LINK = re.compile(r"\]\((?!https?:)([^)#\s]+)")
BLOCK = re.compile(r"^```(?P<kind>\w+)(?P<rest>[^\n]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)


def run_blocks(path: Path) -> list[str]:
    """Run every block of a tutorial that is not marked `no-test`, in order; the commands that ran."""
    done = []
    scope: dict[str, object] = {"__name__": "tutorial"}
    for block in BLOCK.finditer(path.read_text(encoding="utf-8")):
        kind, rest, body = block["kind"], block["rest"], block["body"]
        if "no-test" in rest:
            continue
        title = re.search(r'title="([^"]+)"', rest)
        if title:
            Path(title[1]).write_text(body, encoding="utf-8")
        elif kind == "python":
            exec(compile(body, str(path), "exec"), scope)  # noqa: S102, the documentation's own code
        elif kind == "sh":
            for line in body.splitlines():
                command = shlex.split(line, comments=True)
                assert command[0] == "medzoo", line
                with pytest.raises(SystemExit) as end:
                    main(command[1:])
                assert end.value.code == 0, line
                done.append(line)
    return done


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_works_as_it_is_written(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    done = run_blocks(path)
    assert done or path.stem == "add-a-model"


def test_the_types_that_contributing_shows_work(tmp_path: Path) -> None:
    entries = []
    for block in BLOCK.finditer((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        if block["kind"] == "python":
            scope: dict[str, Any] = {"__name__": "contributing"}
            exec(compile(block["body"], "CONTRIBUTING.md", "exec", dont_inherit=True), scope)  # noqa: S102
            entries.append(scope["ENTRY"])
    layout, host_step, graph_step, augmentation, writer = entries
    Pillow.new("L", (8, 6), 90).save(tmp_path / "p1_bright.png")
    dataset = layout.open(layout.params(root=tmp_path), "classify", ["dark", "bright"])
    (sample,) = map(dataset.load, dataset.items())
    assert (sample.target, sample.item.groups["patient"]) == (1, "p1")
    image, _ = host_step().apply(sample.image, GridTransform.identity(sample.image))
    assert image.array == pytest.approx(np.log(91))
    assert (graph_step().build()(torch.full((1, 1, 4, 4), 55.0)) == 200).all()
    assert not augmentation().apply(torch.zeros(1, 4, 4), np.random.default_rng(0)).eq(0).any()
    opened = writer(WriterOptions(tmp_path, "toy", "classify", ["dark", "bright"]))
    opened.write(Classification(input="a.png", model="toy", label="dark", probabilities={"dark": 1.0}), tmp_path / "a")
    opened.fail(Failure("b.png", UserError("is empty", "b.png")), "b.png")
    opened.close()
    assert (tmp_path / "labels.txt").read_text() == "a dark\nb.png failed\n"


def test_what_the_readme_shows_works_and_prints_what_stands_below_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("docs").symlink_to(ROOT / "docs")
    compared = 0
    for block in BLOCK.finditer((ROOT / "README.md").read_text(encoding="utf-8")):
        if block["kind"] == "python":
            exec(compile(block["body"], "README.md", "exec"), {"__name__": "readme"})  # noqa: S102
        for shown in re.finditer(r"^medzoo (?P<command>.*)\n(?P<said>(?:# .*\n)+)", block["body"], re.MULTILINE):
            capsys.readouterr()
            with pytest.raises(SystemExit) as end:
                main(shlex.split(shown["command"], comments=True))
            assert end.value.code == 0, shown["command"]
            assert capsys.readouterr().out == re.sub("^# ", "", shown["said"], flags=re.MULTILINE), shown["command"]
            compared += 1
    assert compared >= 4
    assert Path("boxes.png").stat().st_size > 10_000


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere_when_read_in_the_repository(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_tests_that_the_security_page_names_are_there() -> None:
    named = set(re.findall(r"`((?:\w+/)?test_\w+\.py)`", (ROOT / "docs" / "security.md").read_text(encoding="utf-8")))
    assert len(named) > 20
    assert sorted(name for name in named if not (ROOT / "tests" / "unit" / name).is_file()) == []


def test_every_metric_is_defined_in_the_docs() -> None:
    from medzoo.task import task_names, task_of

    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    missing = [name for task in task_names() for name in task_of(task).metrics if f"`{name}`" not in text]
    assert not missing
