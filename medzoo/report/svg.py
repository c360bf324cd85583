"""Plots as SVG text, for pages that hold everything themselves: curves, points with bars, strips, a table of counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medzoo.escape import html_text
from medzoo.plots.colours import colour_of

_WIDTH, _HEIGHT = 380, 320
_LEFT, _TOP, _RIGHT, _BOTTOM = 52, 30, 12, 44


@dataclass(frozen=True)
class Axis:
    """Range of an axis with its words; `marks`: where it is labelled, `texts`: with what, if not with the number."""

    words: str
    low: float
    high: float
    marks: Sequence[float]
    texts: Sequence[str] = ()

    def labelled(self) -> list[tuple[float, str]]:
        """Each mark with its text."""
        return list(zip(self.marks, self.texts or [f"{mark:g}" for mark in self.marks], strict=True))


@dataclass(frozen=True)
class Line:
    """A named curve; `steps` draws it in steps, as a curve of thresholds is."""

    name: str
    x: Sequence[float]
    y: Sequence[float]
    steps: bool = False


@dataclass(frozen=True)
class Point:
    """A point with an interval along y, its size by how many items it stands for."""

    x: float
    y: float
    low: float
    high: float
    weight: float
    series: int = 0


class Plot:
    """One set of axes; `svg()` gives the figure."""

    def __init__(self, title: str, x: Axis, y: Axis) -> None:
        self.title, self.x, self.y = title, x, y
        self.parts: list[str] = []
        self.names: list[str] = []

    def at(self, x: float, y: float) -> tuple[float, float]:
        """Screen coordinates of a point, kept inside the axes."""
        across = (min(max(x, self.x.low), self.x.high) - self.x.low) / (self.x.high - self.x.low)
        up = (min(max(y, self.y.low), self.y.high) - self.y.low) / (self.y.high - self.y.low)
        return _LEFT + across * (_WIDTH - _LEFT - _RIGHT), _HEIGHT - _BOTTOM - up * (_HEIGHT - _TOP - _BOTTOM)

    def diagonal(self) -> Plot:
        """The line of chance, or of perfect calibration."""
        (a, b), (c, d) = self.at(self.x.low, self.y.low), self.at(self.x.high, self.y.high)
        self.parts.append(f'<line x1="{a:.1f}" y1="{b:.1f}" x2="{c:.1f}" y2="{d:.1f}" class="faint"/>')
        return self

    def line(self, line: Line) -> Plot:
        """Add a curve."""
        places = [self.at(x, y) for x, y in zip(line.x, line.y, strict=True)]
        points = []
        for n, (x, y) in enumerate(places):
            if line.steps and n:
                points.append(f"{x:.1f},{places[n - 1][1]:.1f}")
            points.append(f"{x:.1f},{y:.1f}")
        self.parts.append(f'<polyline points="{" ".join(points)}" stroke="{_hex(len(self.names))}" class="curve"/>')
        self.names.append(line.name)
        return self

    def points(self, name: str, points: Sequence[Point]) -> Plot:
        """Add points with their intervals."""
        colour = _hex(len(self.names))
        for point in points:
            x, y = self.at(point.x, point.y)
            _, low = self.at(point.x, point.low)
            _, high = self.at(point.x, point.high)
            radius = 2 + min(7.0, point.weight**0.5 / 1.5)
            self.parts.append(f'<line x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}" stroke="{colour}"/>')
            self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="{colour}" opacity="0.75"/>')
        self.names.append(name)
        return self

    def svg(self) -> str:
        """The figure."""
        left, bottom = self.at(self.x.low, self.y.low)
        right, top = self.at(self.x.high, self.y.high)
        parts = [f'<rect x="{left}" y="{top}" width="{right - left}" height="{bottom - top}" class="frame"/>']
        for mark, text in self.x.labelled():
            x, _ = self.at(mark, self.y.low)
            parts.append(f'<line x1="{x:.1f}" y1="{bottom}" x2="{x:.1f}" y2="{top}" class="grid"/>')
            parts.append(f'<text x="{x:.1f}" y="{bottom + 15}" text-anchor="middle">{text}</text>')
        for mark, text in self.y.labelled():
            _, y = self.at(self.x.low, mark)
            parts.append(f'<line x1="{left}" y1="{y:.1f}" x2="{right}" y2="{y:.1f}" class="grid"/>')
            parts.append(f'<text x="{left - 5}" y="{y + 4:.1f}" text-anchor="end">{text}</text>')
        parts += self.parts
        middle = (left + right) / 2
        parts.append(f'<text x="{middle}" y="{_HEIGHT - 8}" text-anchor="middle">{html_text(self.x.words)}</text>')
        parts.append(
            f'<text transform="translate(13 {(top + bottom) / 2}) rotate(-90)" text-anchor="middle">'
            f"{html_text(self.y.words)}</text>"
        )
        parts.append(f'<text x="{middle}" y="18" text-anchor="middle" class="title">{html_text(self.title)}</text>')
        shown = [(n, name) for n, name in enumerate(self.names) if name]
        for row, (n, name) in enumerate(shown):
            y = bottom - 12 - 16 * (len(shown) - 1 - row)
            parts.append(f'<rect x="{right - 14}" y="{y - 9}" width="9" height="9" fill="{_hex(n)}"/>')
            parts.append(f'<text x="{right - 20}" y="{y}" text-anchor="end">{html_text(name)}</text>')
        return _svg(_WIDTH, _HEIGHT, parts, self.title)


def strips(title: str, rows: Sequence[tuple[str, Sequence[float]]], axis: Axis) -> str:
    """One row of points a name, with the median as a line: how single items scatter."""
    height = _TOP + 34 * len(rows) + _BOTTOM
    left, right = 110, _WIDTH - _RIGHT
    scale = (right - left) / (axis.high - axis.low)
    parts = []
    for mark in axis.marks:
        x = left + (mark - axis.low) * scale
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{height - _BOTTOM}" class="grid"/>')
        parts.append(f'<text x="{x:.1f}" y="{height - _BOTTOM + 15}" text-anchor="middle">{mark:g}</text>')
    for n, (name, values) in enumerate(rows):
        y = _TOP + 34 * n + 17
        parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{html_text(name)}</text>')
        for k, value in enumerate(values):
            x = left + (min(max(value, axis.low), axis.high) - axis.low) * scale
            parts.append(
                f'<circle cx="{x:.1f}" cy="{y + (k * 7) % 13 - 6}" r="3" fill="{_of_label(n)}" opacity="0.6"/>'
            )
        if values:
            median = min(max(sorted(values)[len(values) // 2], axis.low), axis.high)
            x = left + (median - axis.low) * scale
            parts.append(
                f'<line x1="{x:.1f}" y1="{y - 12}" x2="{x:.1f}" y2="{y + 12}" stroke="{_of_label(n)}" class="mid"/>'
            )
    middle = (left + right) / 2
    parts.append(f'<text x="{middle}" y="{height - 8}" text-anchor="middle">{html_text(axis.words)}</text>')
    parts.append(f'<text x="{_WIDTH / 2}" y="18" text-anchor="middle" class="title">{html_text(title)}</text>')
    return _svg(_WIDTH, height, parts, title)


def counts_table(labels: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """A confusion matrix as an HTML table, rows the truth, shaded by the share of the row."""
    head = "".join(f"<th>{html_text(label)}</th>" for label in labels)
    rows = []
    for label, row in zip(labels, counts, strict=True):
        total = max(1, sum(row))
        cells = "".join(f'<td style="--share:{100 * n / total:.0f}%">{n}</td>' for n in row)
        rows.append(f"<tr><th>{html_text(label)}</th>{cells}</tr>")
    return f'<table class="counts"><tr><th>is \\ called</th>{head}</tr>{"".join(rows)}</table>'


def _hex(index: int) -> str:
    """The colour of a curve; blue first, which is read best on white."""
    return _of_label(index + 1 if index < 6 else 0)


def _of_label(index: int) -> str:
    """The colour that pictures give to a label."""
    return "#{:02x}{:02x}{:02x}".format(*colour_of(index))


def _svg(width: int, height: int, parts: Sequence[str], title: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{html_text(title)}">{"".join(parts)}</svg>'
    )
