"""A resolved recipe as YAML text and as a digest. Knows no schema."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import yaml

from medzoo.recipe.scalars import reads_as_text


class _Dumper(yaml.SafeDumper):
    """Block style outside, flow style inside, no anchors, text quoted where YAML 1.1 or 1.2 wants it."""

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def represent_text(self, text: str) -> yaml.ScalarNode:
        # PyYAML quotes what YAML 1.1 would take for something else; 1e-3 or 0o17 are numbers in 1.2 alone.
        return self.represent_scalar("tag:yaml.org,2002:str", text, None if reads_as_text(text) else '"')


_Dumper.add_representer(str, _Dumper.represent_text)


def to_yaml(written: dict[str, Any]) -> str:
    """YAML text that reads back to exactly `written`."""
    return yaml.dump(written, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=100)


def digest(written: dict[str, Any]) -> str:
    """SHA-256 (hexadecimal) of `written` as JSON with sorted keys and no spaces, in UTF-8."""
    text = json.dumps(written, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
