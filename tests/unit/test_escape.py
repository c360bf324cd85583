"""Text from outside reaches neither a terminal nor a line of its own, and two names never look the same."""

from __future__ import annotations

import itertools
import json
import os
import re
import warnings

import pytest

from medzoo.cli.terminal import print_message, print_result, printable_output
from medzoo.errors import Fault, UserError
from medzoo.escape import escaped, json_text

NAMES = {
    "plain.png": "plain.png",
    "größe 日本.png": "größe 日本.png",
    "C:\\data\\scan.png": "C:\\data\\scan.png",
    "a\nerror: forged": "a\\x0aerror: forged",
    "a\rb\x1b[31mred\x07": "a\\x0db\\x1b[31mred\\x07",
    os.fsdecode(b"a\xff\xfe.png"): "a\\xff\\xfe.png",
    "a\\xff\\xfe.png": "a\\x5cxff\\x5cxfe.png",
    "\x9b31m": "\\u009b31m",
    "\u202egnp.exe": "\\u202egnp.exe",
    "a\u2028b\u2066c": "a\\u2028b\\u2066c",
    "\u0645\u06cc\u200c\u062e": "\u0645\u06cc\u200c\u062e",
    "\U000e0041": "\\U000e0041",
}


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_shown_on_one_printable_line(name: str) -> None:
    assert escaped(name) == NAMES[name]
    assert str(Fault("is bad", name)) == f"{NAMES[name]}: is bad"
    assert str(UserError(f"no {name}")).startswith("no ")
    assert str(UserError(f"no {name}")).replace("\u200c", "").isprintable()
    for indent in (None, 1):
        text = json_text({name: [name]}, indent=indent)
        text.encode()  # no lone surrogate
        assert json.loads(text) == {name: [name]}
        assert text.replace("\n", "").replace("\u200c", "").isprintable()


def test_two_texts_never_look_the_same() -> None:
    """Every text over an alphabet of what escapes are made of, back and forth."""
    parts = ("\\", "x", "u", "5", "c", "f", "\x1b", "\udcff", "\u202e")
    texts = ["".join(text) for n in range(6) for text in itertools.product(parts, repeat=n)]
    shown = [escaped(text) for text in texts]
    assert len(set(shown)) == len(texts)

    def read(found: re.Match[str]) -> str:
        number = int(found[1], 16)
        return chr(number + 0xDC00) if found[0][1] == "x" and number >= 0x80 else chr(number)

    back = [re.sub(r"\\[xuU]((?<=x)[0-9a-f]{2}|(?<=u)[0-9a-f]{4}|(?<=U)[0-9a-f]{8})", read, one) for one in shown]
    assert back == texts


def test_words_of_libraries_are_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    with printable_output():
        warnings.warn("a value\nof a \x1b[2Jheader", UserWarning, stacklevel=1)
        print_message("said \x1b]0;title\x07")
        print_result("shown \u202e")
    out, err = capsys.readouterr()
    assert out == "shown \\u202e\n"
    assert err == "warning: a value\\x0aof a \\x1b[2Jheader\nsaid \\x1b]0;title\\x07\n"


def test_a_console_prints_no_control_characters(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.table import Table

    from medzoo.report.summary import Console, audit_summary

    console = Console(width=200)
    console.print("a \x1b[31mname", markup=False)
    table = Table("figure")
    table.add_row("\x9b31m \u202e")
    console.print(table)
    name = "[/]\x1b[2J\nforged [bold]x.png"
    leak = {"kind": "near", "a": name, "b": name, "splits": ["train", "test"], "labels": ["[/red]", "b"]}
    finding = {"kind": "unreadable", "image": name, "text": "is no picture"}
    audit_summary({"images": 2, "splits": {}, "leaks": [leak], "findings": [finding]}, console=console)
    out = capsys.readouterr().out
    assert set(re.findall(r"[^\n]", out)) == {c for c in out if c.isprintable()}
    assert out.count("[/]\\x1b[2J\\x0aforged [bold]x.png") == 3


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("a\nerror: forged.png", "a\\x0aerror: forged.png"),
        ("d\u202egnp.png", "d\\u202egnp.png"),
        ("b\x1b[31m<b>.png", "b\\x1b[31m&lt;b&gt;.png"),
        (os.fsdecode(b"l\xff.png"), "l\\xff.png"),
    ],
)
def test_a_name_in_a_page_forges_nothing(name: str, shown: str) -> None:
    from medzoo.report.audit_page import render_audit

    finding = {"kind": "burnt-in-text", "image": name, "text": f"{name} has letters", "other": ""}
    document = {"images": 1, "splits": {"train": 1}, "leaks": [], "findings": [finding]}
    page = render_audit(name, document, {}, version="1")
    assert shown in page
    assert name not in page
    page.encode()  # whatever bytes the name has
