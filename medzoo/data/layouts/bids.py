"""`bids`: scans in the Brain Imaging Data Structure (Gorgolewski et al., Scientific Data 3:160044, 2016), found by
its rules: sub-LABEL[/ses-LABEL]/anat/sub-..._SUFFIX.nii.gz, label maps under derivatives."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pydantic import Field

from medzoo.data.dataset import DataEntry, DataParams, Item, Sample
from medzoo.data.volumes import check_values, index_labels
from medzoo.errors import UserError
from medzoo.io import read_labels
from medzoo.io.sequences import read_channels

_NAME = re.compile(r"(?P<entities>(?:[a-zA-Z0-9]+-[a-zA-Z0-9]+_)+)(?P<suffix>[a-zA-Z0-9]+)\.nii(?:\.gz)?")


class Params(DataParams):
    """Which images of a BIDS data set are read, and where their label maps are."""

    root: Path = Field(description="the folder that holds dataset_description.json")
    images: tuple[str, ...] = Field(("T1w",), min_length=1, description="suffixes that become the channels")
    datatype: str = Field("anat", description="the folder of a subject that holds them")
    labels: str = Field("dseg", description="suffix of the label maps (dseg, or mask)")
    derivative: str | None = Field(None, description="name of the derivative that holds them; absent: the only one")
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
            raise UserError("is no BIDS data set (no dataset_description.json)", str(root), "see data.root")
        maps = self._maps()
        items = []
        for folder in sorted(root.glob("sub-*")) if root.is_dir() else []:
            for session in [folder, *sorted(folder.glob("ses-*"))]:
                place = session / self.params.datatype
                if not place.is_dir():
                    continue
                key = session.relative_to(root).as_posix()
                files = {suffix: self._only(place, suffix) for suffix in self.params.images}
                label = self._only(maps / key / self.params.datatype, self.params.labels)
                groups = {"subject": folder.name, "scan": key}
                items.append(Item(key, {**files, "label": label}, groups))
        if not items:
            raise UserError(f"holds no subject with {self.params.datatype}/", str(root), "sub-LABEL/anat/...")
        return items

    def _maps(self) -> Path:
        """The folder that mirrors the subjects with their label maps."""
        folder = self.params.root / "derivatives"
        found = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
        name = self.params.derivative or (found[0] if len(found) == 1 else None)
        if name is None or name not in found:
            raise UserError(f"has the derivatives {', '.join(found) or 'none'}", str(folder), "set data.derivative")
        return folder / name

    def _only(self, folder: Path, suffix: str) -> Path:
        """The one image of a suffix in a folder, by the names that BIDS allows."""
        found = [p for p in sorted(folder.glob("*.nii*")) if (m := _NAME.fullmatch(p.name)) and m["suffix"] == suffix]
        if len(found) != 1:
            names = ", ".join(p.name for p in found)
            raise UserError(
                f"holds {len(found)} images {suffix} {names}".rstrip(), str(folder), "one a session is read"
            )
        return found[0]

    def load(self, item: Item) -> Sample:
        """The images as channels, and the labels as indices into the recipe's."""
        image = read_channels([item.files[suffix] for suffix in self.params.images])
        path = item.files["label"]
        stored = read_labels(path, like=image).array[0]
        return Sample(item, image, index_labels(stored, self.labels, self.values, where=str(path)))


def _open(params: Params, task: str, labels: Sequence[str]) -> Bids:
    return Bids(params, task, labels)


ENTRY = DataEntry(Params, ("segment",), _open)
