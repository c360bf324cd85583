from __future__ import annotations

import json
from pathlib import Path

from medzoo.report.sections import tissue_section


def test_the_slides_table_stands_beside_the_measured_dice() -> None:
    manifest = json.loads(Path("zoo/brain-tissue/manifest.json").read_text())
    section = tissue_section(manifest["metrics"])
    own = {figure["name"]: figure["value"] for figure in manifest["metrics"]["figures"]}
    rows = [line for line in section.splitlines() if line.startswith("|")]
    assert "0.7787 | 0.9003 | 0.8633" in rows[3]
    assert f"{own['dice/grey-matter']:.3f}" in rows[2].split("|")[3]
    assert "protocols differ" in section


def test_other_models_have_no_such_section() -> None:
    assert not tissue_section({"figures": [{"name": "dice/lesion", "value": 0.5}]})
