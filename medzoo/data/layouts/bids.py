"""`bids`: scans in the Brain Imaging Data Structure (Gorgolewski et al., Scientific Data 3:160044, 2016), found by
its rules: sub-LABEL[/ses-LABEL]/anat/sub-..._SUFFIX.nii.gz, label maps under derivatives."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field

from medzoo.data.annotation_files import read_table
from medzoo.data.dataset import DataEntry, DataParams, Item, Sample
from medzoo.data.file_names import is_hidden
from medzoo.data.sighting import Listing, Sighting
from medzoo.data.volumes import check_values, index_labels
from medzoo.errors import UserError
from medzoo.io import read_labels
from medzoo.io.sequences import read_channels

NONE = "none"  # what stands for an entity that a name does not have
_NAME = re.compile(r"(?P<entities>(?:[a-zA-Z0-9]+-[a-zA-Z0-9+]+_)+)(?P<suffix>[a-zA-Z0-9]+)\.nii(?:\.gz)?")


class Params(DataParams):
    """Parameters of `bids`: the images that are read, and the folder of their label maps."""

    root: Path = Field(description="the folder that holds dataset_description.json")
    images: tuple[str, ...] = Field(("T1w",), min_length=1, description="suffixes that become the channels")
    datatype: str = Field("anat", description="the folder of a subject that holds them")
    labels: str = Field("dseg", description="suffix of the label maps (dseg, or mask)")
    derivative: str | None = Field(None, description="name of the derivative that holds them; absent: the only one")
    desc: str | None = Field(
        None, description="desc entity of the label maps, such as aseg; none: those without it; absent: the only ones"
    )
    space: str | None = Field(
        None, description="space entity of the label maps, such as T1w; none: those without it; absent: the only ones"
    )
    label_entities: dict[str, str] = Field(
        default_factory=dict, description="further entities of the label maps, such as {res: '2'}; none: without it"
    )
    image_entities: dict[str, str] = Field(
        default_factory=dict, description="entities of the images, such as {acq: mprage, run: '1'}; none: without it"
    )
    values: dict[str, tuple[int, ...]] = Field(description="label to the values of the label map that mean it")


class Bids:
    """Items are subjects, or their sessions. Groups "subject" and "scan"."""

    def __init__(self, params: Params, task: str, labels: Sequence[str]) -> None:
        self.params, self.labels = params, tuple(labels)
        self.values = check_values(labels, params.values)

    def items(self) -> Sequence[Item]:
        """Every subject and session with one image of each suffix and a label map. Raises UserError by name."""
        root = self.params.root
        if not (root / "dataset_description.json").is_file():
            raise UserError("is not a BIDS dataset (it has no dataset_description.json)", str(root), "check data.root")
        maps = self._maps()
        items = []
        for folder in sorted(root.glob("sub-*")) if root.is_dir() else []:
            for session in [folder, *sorted(folder.glob("ses-*"))]:
                place = session / self.params.datatype
                if not place.is_dir():
                    continue
                key = session.relative_to(root).as_posix()
                chosen = self.params.image_entities
                files = {suffix: _only(place, suffix, chosen, "image_entities") for suffix in self.params.images}
                label = self._label(maps / key / self.params.datatype)
                groups = {"subject": folder.name, "scan": key}
                items.append(Item(key, {**files, "label": label}, groups))
        if not items:
            raise UserError(f"has no subject with a folder {self.params.datatype}/", str(root), "sub-LABEL/anat/...")
        return items

    def _maps(self) -> Path:
        """The folder that mirrors the subjects with their label maps."""
        folder = self.params.root / "derivatives"
        found = (
            sorted(p.name for p in folder.iterdir() if p.is_dir() and not is_hidden(p.name)) if folder.is_dir() else []
        )
        name = self.params.derivative or (found[0] if len(found) == 1 else None)
        if name is None or name not in found:
            raise UserError(f"has the derivatives {', '.join(found) or 'none'}", str(folder), "set data.derivative")
        return folder / name

    def _label(self, folder: Path) -> Path:
        """The label map of a subject or session, of the desc and space that the recipe names."""
        named = {"desc": self.params.desc, "space": self.params.space, **self.params.label_entities}
        wanted = {key: value for key, value in named.items() if value is not None}
        return _only(folder, self.params.labels, wanted, "desc, data.space or data.label_entities")

    def load(self, item: Item) -> Sample:
        """The images as channels, and the labels as indices into the recipe's."""
        image = read_channels([item.files[suffix] for suffix in self.params.images])
        path = item.files["label"]
        stored = read_labels(path, like=image).array[0]
        return Sample(item, image, index_labels(stored, self.labels, self.values, where=str(path)))


def _only(folder: Path, suffix: str, wanted: Mapping[str, str], field: str) -> Path:
    """The one image of a suffix in a folder that has the `wanted` entities, by the names that BIDS allows.

    Raises UserError that names what there is to choose from.
    """
    matched = [
        (p, m) for p in sorted(folder.glob("*.nii*")) if (m := _NAME.fullmatch(p.name)) and m["suffix"] == suffix
    ]
    entities = {path: dict(part.split("-", 1) for part in m["entities"][:-1].split("_")) for path, m in matched}
    found = [p for p, own in entities.items() if all(own.get(key, NONE) == value for key, value in wanted.items())]
    if len(found) == 1:
        return found[0]
    asked = "".join(f" {key}-{value}" for key, value in wanted.items())
    if not found:
        there = f"; there are {_choices(entities)}" if entities else ""
        raise UserError(
            f"has no image {suffix}{asked}{there}", str(folder), f"check data.{field}" if entities else None
        )
    choices = _choices({path: entities[path] for path in found})
    raise UserError(f"has {len(found)} images {suffix}{asked}: {choices}", str(folder), f"choose one with data.{field}")


def _choices(entities: Mapping[Path, Mapping[str, str]]) -> str:
    """Names of files, each with the entities in which they differ."""
    keys = dict.fromkeys(key for own in entities.values() for key in own)
    differing = [key for key in keys if len({own.get(key, NONE) for own in entities.values()}) > 1]
    choices = [", ".join(f"{key}: {own.get(key, NONE)}" for key in differing) for own in entities.values()]
    return "; ".join(
        f"{path.name} ({text})" if text else path.name for path, text in zip(entities, choices, strict=True)
    )


def _open(params: Params, task: str, labels: Sequence[str]) -> Bids:
    return Bids(params, task, labels)


def recognise(listing: Listing) -> Sighting | None:
    """A dataset_description.json with subjects, and label maps among the derivatives that a table names."""
    if "dataset_description.json" not in listing.file_set or not any(n.startswith("sub-") for n in listing.files):
        return None
    maps = [m for n in listing.matching("derivatives/*") if (m := _NAME.fullmatch(PurePosixPath(n).name)) is not None]
    suffixes = [s for s in ("dseg", "mask") if any(m["suffix"] == s for m in maps)]
    images = Counter(
        m["suffix"] for n in listing.volumes if n.startswith("sub-") and (m := _NAME.fullmatch(PurePosixPath(n).name))
    )
    if not suffixes or not images:
        where = "subjects" if suffixes else "derivatives"
        raise UserError(
            f"is a BIDS dataset without {'images' if suffixes else 'label maps'}", str(listing.root / where)
        )
    tables = listing.matching("*_dseg.tsv", "*dseg.tsv", "*labels.tsv")
    labels: dict[str, tuple[int, ...]] = {}
    for name in tables[:1]:
        head, *rows = read_table(listing.path(name))
        if "index" in head and "name" in head:
            pairs = [(row[head.index("name")], int(row[head.index("index")])) for row in rows if len(row) == len(head)]
            labels = {label: (value,) for label, value in pairs if value != 0}
    if not labels and suffixes[0] == "mask":
        labels = {"object": (1,)}
    if not labels:
        raise UserError(
            "no dseg.tsv names the values of its label maps", str(listing.root), "add one with index and name"
        )
    chosen = images.most_common(1)[0][0]
    params: dict[str, Any] = {
        "images": [chosen],
        "labels": suffixes[0],
        "values": {k: list(v) for k, v in labels.items()},
    }
    why = f"BIDS: {images[chosen]} images {chosen} with label maps {suffixes[0]}"
    return Sighting(("segment",), tuple(labels), why, params, modality="MR" if chosen[0] in "TFP" else None)


ENTRY = DataEntry(Params, ("segment",), _open, recognise=recognise)
