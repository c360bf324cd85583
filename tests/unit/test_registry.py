from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint

import pytest

from medzoo import registry
from medzoo.errors import UserError


@pytest.fixture(autouse=True)
def _fresh_names() -> None:
    registry.names.cache_clear()
    yield
    registry.names.cache_clear()


def test_listing_imports_no_module_and_asking_imports_one() -> None:
    program = (
        "import sys; from medzoo import registry; registry.names('model'); registry.names('data');"
        "assert not [m for m in sys.modules if m.startswith(('medzoo.models', 'medzoo.data', 'torch'))], 'imported';"
        "registry.entry('model', 'patch-cnn');"
        "print([m for m in sys.modules if m.startswith('medzoo.models.')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['medzoo.models.patch_cnn']"


def test_an_unknown_name_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(UserError, match="did you mean 'patch-cnn'"):
        registry.entry("model", "patch-cn")


def test_an_installed_package_adds_a_type(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("my-net", "medzoo.models.patch_cnn:ENTRY", "medzoo.models")
    monkeypatch.setattr(registry, "_installed", lambda group: [point] if group == "medzoo.models" else [])
    assert "my-net" in registry.names("model")
    assert registry.entry("model", "my-net").task == "segment"


def test_a_duplicate_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("patch-cnn", "elsewhere.net:ENTRY", "medzoo.models")
    monkeypatch.setattr(registry, "_installed", lambda group: [point])
    with pytest.raises(UserError, match=r"registered twice, by medzoo\.models\.patch_cnn:ENTRY and elsewhere"):
        registry.names("model")
