"""medzoo: a declarative model zoo for medical images.

Importing this module is light; everything is imported when it is first used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from medzoo.commands.evaluate import evaluate
    from medzoo.commands.train import train
    from medzoo.errors import UserError
    from medzoo.loading.load import load
    from medzoo.results import Failure

# Nothing that medzoo stands on tells its makers of what is done here: ONNX Runtime (from 1.29 on, on Linux too), Ray
# and the Hugging Face hub do, unless they are told not to before they are imported. A value of the user's own stays.
for _name, _value in (
    ("ORT_DISABLE_TELEMETRY", "1"),
    ("RAY_USAGE_STATS_ENABLED", "0"),
    ("HF_HUB_DISABLE_TELEMETRY", "1"),
):
    os.environ.setdefault(_name, _value)

__all__ = ["Failure", "UserError", "evaluate", "load", "train"]

_HOME = {
    "Failure": "medzoo.results",
    "UserError": "medzoo.errors",
    "evaluate": "medzoo.commands.evaluate",
    "load": "medzoo.loading.load",
    "train": "medzoo.commands.train",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("medzoo")
    if name not in _HOME:
        raise AttributeError(f"module 'medzoo' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, "__version__"])
