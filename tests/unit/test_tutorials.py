"""The tutorials of docs/ run as they stand: code is executed, files are written, commands must succeed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from medzoo.cli import main

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = sorted(ROOT.glob("docs/tutorials/*.md"))
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


def test_every_metric_is_defined_in_the_docs() -> None:
    from medzoo.metrics import METRICS

    text = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    missing = [name for names in METRICS.values() for name in names if f"`{name}`" not in text]
    assert not missing
