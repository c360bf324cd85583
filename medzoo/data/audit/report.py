"""The report of an audit: leaks, findings and counts, as JSON and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

WARNED = ("box-scale", "box-form", "unlisted", "sets")  # kinds of findings about labels that a training says

LeakKind = Literal["patient", "identical", "near"]


@dataclass(frozen=True)
class Leak:
    """The same patient or content in two parts of a split: the images `a` and `b`, their parts and their labels."""

    kind: LeakKind
    a: str
    b: str
    splits: tuple[str, str]
    labels: tuple[str, str]


@dataclass(frozen=True)
class Finding:
    """A finding on one image ("": on the whole dataset): its kind, a sentence, and the image it is compared with."""

    kind: str
    image: str
    text: str
    other: str = ""


@dataclass(frozen=True)
class Audit:
    """The result of an audit.

    `images`: number of images; `splits`: number by part; `unread`: ids of the items that cannot be read, or not with
    their labels; there is a finding on each.
    """

    images: int
    splits: dict[str, int]
    leaks: tuple[Leak, ...] = ()
    findings: tuple[Finding, ...] = ()
    unread: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document that `medzoo data --json` prints."""
        return {
            "images": self.images,
            "splits": self.splits,
            "leaks": [asdict(leak) | {"splits": list(leak.splits), "labels": list(leak.labels)} for leak in self.leaks],
            "findings": [asdict(finding) for finding in self.findings],
            "unread": list(self.unread),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Audit:
        """Read back the document of `to_json`."""
        leaks = tuple(
            Leak(leak["kind"], leak["a"], leak["b"], tuple(leak["splits"]), tuple(leak["labels"]))
            for leak in document["leaks"]
        )
        findings = tuple(Finding(**finding) for finding in document["findings"])
        return cls(document["images"], document["splits"], leaks, findings, tuple(document["unread"]))

    def warnings(self) -> list[str]:
        """Warnings before a training: findings on the labels of the whole set, and look-alikes."""
        whole = [f.text for f in self.findings if f.kind in WARNED and (not f.image or f.kind == "sets")]
        alike = sum(f.kind == "look-alike" for f in self.findings)
        many = [f"{alike} pairs of images look alike but are not copies; medzoo data lists them"] if alike else []
        return [*whole, *many]

    def counts(self) -> dict[str, Any]:
        """Counts for a manifest: images, leaks by kind and findings by kind; no names."""
        leaks = Counter(leak.kind for leak in self.leaks)
        return {
            "images": self.images,
            "leaks": {kind: leaks[kind] for kind in get_args(LeakKind)},
            "findings": dict(sorted(Counter(finding.kind for finding in self.findings).items())),
        }
