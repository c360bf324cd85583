"""One self-contained HTML page about a dataset: leaks and duplicates side by side, findings beside their images."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from medzoo.escape import html_text

DRAWN = 60  # pairs or images of one kind that are drawn; the others are listed
LEAKS = {
    "patient": ("The same patient on two sides", "Images of one patient in two parts of the split."),
    "identical": ("The same bytes on two sides", "Files of one content in two parts of the split."),
    "near": ("The same content on two sides", "Near-duplicates (crops, copies, changes of grey values or size)."),
}
FINDINGS = {
    "unreadable": ("Unreadable", "Files that a training would stop at."),
    "label-conflict": ("One content, two labels", "Images that show the same thing and are labelled differently."),
    "duplicate": ("The same bytes twice", "Identical files on one side of the split."),
    "near-duplicate": ("Near-duplicates on one side", "They count twice in training or in a figure."),
    "look-alike": (
        "Look-alikes",
        "Volumes that look alike without being copies; of one patient they should be on one side.",
    ),
    "label-noise": ("Labels to look at again", "Images that look like those of another class."),
    "off-grid": ("Masks off the grid", "Masks that do not lie on their image's grid."),
    "empty-mask": ("Empty masks", "Images in which nothing is marked."),
    "class-balance": ("Class balance", ""),
    "spacing": ("Spacing", "Scans whose spacing is far from the others'."),
    "intensity": ("Intensities", "Images whose grey values are far from the others'."),
    "burnt-in-text": ("Burnt-in text", "Letters in the picture: a model can read them, and so can anyone."),
    "clipped": ("Boxes cut to their image", "Boxes that reached beyond their image."),
    "repeated-box": ("Boxes given twice", "Equal boxes of one label in one image: each counts as an object."),
    "box-scale": ("Scale of the boxes", "Boxes that are too small to be in pixels."),
    "box-form": ("Form of the boxes", "Boxes that look as if they were written in another form."),
    "difficult": ("Difficult objects", "Marked so in the annotations; they are not trained on and do not count."),
    "crowd": ("Crowds", "Marked so in the annotations; they are not trained on and do not count."),
    "filename": ("File names in annotations", "Annotations that name another image than the one they lie beside."),
    "unlisted": ("Files left out", "Files that no list names, or that are not read."),
    "sets": ("Sets", "How the set files were read."),
    "header": ("Headers that identify", "Only the fields are named here, never what they say."),
}


def images_to_draw(document: Mapping[str, Any]) -> list[str]:
    """The images that the page of an audit shows, each once."""
    names: dict[str, None] = {}
    for rows in [*_by_kind(document["leaks"]).values(), *_by_kind(document["findings"]).values()]:
        for row in rows[:DRAWN]:
            names |= dict.fromkeys([row["a"], row["b"]] if "a" in row else [row["image"], row["other"]])
    names.pop("", None)
    return list(names)


def render_audit(name: str, document: Mapping[str, Any], pictures: Mapping[str, bytes], *, version: str) -> str:
    """Render the page of an audit (`Audit.to_json`); `pictures`: JPEG bytes of `images_to_draw`, as far as readable."""
    page = _Page(document, pictures)
    leaks, findings = _by_kind(document["leaks"]), _by_kind(document["findings"])
    sides = ", ".join(f"{count} {part}" for part, count in document["splits"].items())
    tiles = [("leaks", len(document["leaks"])), *((kind, len(rows)) for kind, rows in findings.items())]
    verdict = (
        f"<strong>The split leaks: {len(document['leaks'])} pairs lie on two sides.</strong> Figures of a model "
        "that is trained on it say nothing about new images. Split by a group that holds them together."
        if document["leaks"]
        else "<strong>No leak was found</strong> between the sides of the split."
    )
    return Template((files("medzoo.report") / "audit.html").read_text(encoding="utf-8")).substitute(
        name=html_text(name),
        version=html_text(version),
        style=(files("medzoo.report") / "page.css").read_text(encoding="utf-8"),
        lead=html_text(f"{document['images']} images: {sides}." + (f" All below {page.root}." if page.root else "")),
        verdict=verdict,
        tiles="".join(f"<div class='tile'>{html_text(kind)}<b>{count}</b></div>" for kind, count in tiles),
        leaks="".join(page.section(LEAKS[kind], rows) for kind, rows in leaks.items()),
        findings="".join(page.section(FINDINGS.get(kind, (kind, "")), rows) for kind, rows in findings.items()),
    )


class _Page:
    """Sections of one page; image names are cut by the folder they share."""

    def __init__(self, document: Mapping[str, Any], pictures: Mapping[str, bytes]) -> None:
        self.pictures = pictures
        names = [row[key] for row in document["leaks"] for key in ("a", "b")]
        names += [row[key] for row in document["findings"] for key in ("image", "other")]
        folders = {Path(name).parent for name in names if name}
        placed = bool(folders) and all(folder.is_absolute() for folder in folders)
        self.root = os.path.commonpath(folders) if placed else ""

    def section(self, words: tuple[str, str], rows: Sequence[Mapping[str, Any]]) -> str:
        """One kind of leak or finding: its first rows drawn, the others listed."""
        title, text = words
        head = f"<h2>{html_text(title)} ({len(rows)})</h2><p>{html_text(text)}</p>"
        if not any(row.get("a") or row.get("image") for row in rows):
            return head + "<ul>" + "".join(f"<li>{html_text(row['text'])}</li>" for row in rows) + "</ul>"
        cards = "".join(self._leak(row) if "a" in row else self._finding(row) for row in rows[:DRAWN])
        rest = "".join(f"<li>{self._words(row)}</li>" for row in rows[DRAWN:])
        more = f"<details><summary>{len(rows) - DRAWN} more</summary><ul>{rest}</ul></details>" if rest else ""
        return f'{head}<div class="pairs">{cards}</div>{more}'

    def _leak(self, row: Mapping[str, Any]) -> str:
        sides = [
            self._image(row[key], " · ".join(part for part in (row["splits"][n], row["labels"][n]) if part))
            for n, key in enumerate(("a", "b"))
        ]
        return f'<figure class="pair leak"><div class="sides">{"".join(sides)}</div></figure>'

    def _finding(self, row: Mapping[str, Any]) -> str:
        images = [self._image(name, "") for name in (row["image"], row["other"]) if name]
        single = "" if row["other"] else " single"
        text = html_text(self._short_text(row))
        return f'<figure class="pair{single}"><div class="sides">{"".join(images)}</div><p>{text}</p></figure>'

    def _image(self, name: str, words: str) -> str:
        picture = self.pictures.get(name)
        short = html_text(self._short(name))
        shown = (
            f'<img alt="{short}" src="data:image/jpeg;base64,{base64.b64encode(picture).decode()}">'
            if picture
            else '<div class="none">cannot be shown</div>'
        )
        label = f"<br><strong>{html_text(words)}</strong>" if words else ""
        return f"<div>{shown}<p><code>{short}</code>{label}</p></div>"

    def _words(self, row: Mapping[str, Any]) -> str:
        if "a" in row:
            sides = " / ".join(row["splits"])
            return html_text(f"{self._short(row['a'])} and {self._short(row['b'])}: {sides}")
        return html_text(f"{self._short(row['image'])}: {self._short_text(row)}")

    def _short_text(self, row: Mapping[str, Any]) -> str:
        text: str = row["text"]
        return text.replace(self.root + os.sep, "") if self.root else text

    def _short(self, name: str) -> str:
        return os.path.relpath(name, self.root) if self.root and Path(name).is_absolute() else name


def _by_kind(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["kind"], []).append(row)
    order = [*LEAKS, *FINDINGS]
    return dict(sorted(found.items(), key=lambda kind: order.index(kind[0]) if kind[0] in order else len(order)))
