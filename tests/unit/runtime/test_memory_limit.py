"""A graph that asks for more memory than there is ends with one line, not with its process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medzoo.errors import UserError
from medzoo.runtime.backends.memory_limit import VARIABLE, free_memory, graph_memory, memory_fault
from medzoo.runtime.backends.onnx import OnnxBackend
from tests.unit.runtime.bombs import KINDS, write_bomb
from tests.unit.serve.graphs import write_graph

ROOT = Path(__file__).resolve().parents[3]
# One process for all kinds, as each would enforce a second on starting: what they say, and the most that they took.
RUN = """
import json, sys
import numpy as np
from medzoo.errors import UserError
from medzoo.runtime.backends.onnx import OnnxBackend
from pathlib import Path
said = {}
for path in sorted(Path(sys.argv[1]).glob("*.onnx")):
    try:
        backend = OnnxBackend(path, device="cpu", threads=1)
        said[path.stem] = str(backend.run({"image": np.ones((1, 1, 8, 8), np.float32)})["probabilities"].shape)
    except UserError as error:
        said[path.stem] = str(error)
# Not ru_maxrss, which a child takes over from the process that started it.
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) >> 10 for line in status if line.startswith("VmHWM"))
print(json.dumps([said, peak]))
"""


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, str], int]:
    """The outcome of each graph, and of a well-behaved one between them, under a limit of 64 MB."""
    folder = tmp_path_factory.mktemp("bombs")
    for kind in KINDS:
        write_bomb(folder / f"{kind}.onnx", kind)
    write_graph(folder / "honest.onnx", "classify")
    run = subprocess.run(
        [sys.executable, "-c", RUN, str(folder)],
        env={**os.environ, VARIABLE: "64", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    answers, peak = json.loads(run.stdout)
    return answers, peak


@pytest.mark.parametrize("kind", KINDS)
def test_a_graph_that_makes_a_huge_tensor_is_one_error(said: tuple[dict[str, str], int], kind: str) -> None:
    assert f"{kind}.onnx: the graph needs more memory than the limit of 0.0625 GB on the CPU" in said[0][kind]
    assert VARIABLE in said[0][kind]


def test_the_process_stays_small_and_serves_the_next_request(said: tuple[dict[str, str], int]) -> None:
    answers, peak = said
    assert answers["honest"] == "(1, 2)"
    assert peak < 600  # MB, most of it Python and its libraries


@pytest.mark.parametrize("kind", ["ConstantOfShape", "doubling Loop", "padded Conv"])
def test_the_command_line_ends_with_one_line(kind: str, tmp_path: Path) -> None:
    model = write_bomb(tmp_path / "bomb.onnx", kind)
    Image.fromarray(np.full((8, 8), 200, np.uint8)).save(tmp_path / "a.png")
    run = subprocess.run(
        [sys.executable, "-m", "medzoo", "predict", str(model), str(tmp_path / "a.png"), "--json"],
        env={**os.environ, VARIABLE: "64", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 2, run.stderr
    assert "needs more memory than the limit" in run.stderr
    assert len(run.stderr.splitlines()) == 1, run.stderr  # ONNX Runtime itself says nothing


@pytest.mark.parametrize("value", ["0", "-5", "much", "1.5", "1e3"])
def test_a_limit_that_is_no_number_is_refused(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    graph_memory.cache_clear()
    monkeypatch.setenv(VARIABLE, value)
    with pytest.raises(UserError, match="is not a positive number of MB"):
        graph_memory()
    graph_memory.cache_clear()


def _system(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


MEMINFO = {"proc/meminfo": "MemTotal: 32000 kB\nMemAvailable:   8000 kB\n"}
V2 = {"proc/self/cgroup": "0::/box\n", "sys/fs/cgroup/box/memory.stat": "anon 1000000\nfile 900000\n"}
V1 = {
    "proc/self/cgroup": "4:memory:/box\n1:cpu:/\n0::/\n",
    "sys/fs/cgroup/memory/box/memory.stat": "rss 5\ntotal_rss 500000\n",
}


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 16 << 30),
        (MEMINFO, 8000 * 1024),
        (MEMINFO | V2 | {"sys/fs/cgroup/box/memory.max": "max\n"}, 8000 * 1024),
        (MEMINFO | V2 | {"sys/fs/cgroup/box/memory.max": "3000000\n"}, 2000000),
        (MEMINFO | V1 | {"sys/fs/cgroup/memory/box/memory.limit_in_bytes": "3000000\n"}, 2500000),
        (MEMINFO | V1 | {"sys/fs/cgroup/memory/memory.limit_in_bytes": "3000000\n"}, 3000000),
        (MEMINFO | V2 | {"sys/fs/cgroup/box/memory.max": "500000\n"}, 0),
    ],
)
def test_free_memory_is_the_systems_or_the_control_groups(files: dict[str, str], free: int, tmp_path: Path) -> None:
    assert free_memory(_system(tmp_path, files)) == free


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("std::bad_alloc"), RuntimeError("BFCArena: no")])
def test_every_lack_of_memory_is_reported(error: Exception) -> None:
    assert "needs more memory" in str(memory_fault(error, where="model.onnx"))
    assert memory_fault(ValueError("another"), where="model.onnx") is None


# Elements of a fixed shape, of float32 or uint8: 64 GB, 1 TB and 16 EB.
@pytest.mark.parametrize("side", ["image", "probabilities", "labels"])
@pytest.mark.parametrize("size", [1 << 15, 1 << 18, 1 << 31])
def test_a_fixed_shape_that_cannot_fit_is_refused_before_it_is_made(
    side: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnx

    path = write_graph(tmp_path / "wide.onnx", "segment")
    model = onnx.load(path)
    (value,) = [one for one in (*model.graph.input, *model.graph.output) if one.name == side]
    axes = value.type.tensor_type.shape.dim
    axes[-1].dim_value, axes[-2].dim_value, axes[0].dim_value = size, size, 64
    onnx.save(model, path)
    with pytest.raises(UserError, match=rf"the (in|out)put '{side}' of shape \[64, .* GB; the limit is"):
        OnnxBackend(path, device="cpu")
