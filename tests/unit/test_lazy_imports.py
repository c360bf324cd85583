"""Late imports may be needed by several threads at once.

Of a package whose modules import each other, a thread that asks for a submodule and one that asks for the package wait
for each other, and Python then gives one of them half a module. So functions ask for the package first.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import ast, random, sys, threading
from pathlib import Path

import medzoo.types  # which every module imports

packages, seed = sys.argv[2].split(","), int(sys.argv[3])
blocks = set()
for path in Path(sys.argv[1]).rglob("*.py"):
    for function in ast.walk(ast.parse(path.read_text())):
        if isinstance(function, ast.FunctionDef):
            lines = [node for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
            lines = [ast.unparse(n) for n in sorted(lines, key=lambda n: n.lineno)]
            lines = [line for line in lines if line.split()[1].split(".")[0] in packages]
            blocks |= {"\\n".join(lines)} - {""}
blocks = sorted(blocks)
assert len(blocks) > 3, blocks
random.Random(seed).shuffle(blocks)
start, failed = threading.Barrier(len(blocks)), []

def run(block):
    start.wait()
    try:
        exec(block, {})
    except Exception as error:
        failed.append(f"{block}: {error}")

threads = [threading.Thread(target=run, args=(block,)) for block in blocks]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
sys.exit("\\n".join(failed) or 0)
"""


@pytest.mark.parametrize("packages", ["nibabel", "pydicom", "scipy,skimage"])
def test_imports_of_many_threads_at_once(packages: str) -> None:
    folder = Path(__file__).resolve().parents[2] / "medzoo"
    for seed in range(3):
        command = [sys.executable, "-c", CODE, str(folder), packages, str(seed)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
