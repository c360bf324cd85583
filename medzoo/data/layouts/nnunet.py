"""`nnunet`: a raw data folder of nnU-Net, version 1 or 2 (Isensee et al., Nature Methods 2021).

`imagesTr/CASE_0000.nii.gz`, one file a channel, and `labelsTr/CASE.nii.gz`; `dataset.json` names channels
(`channel_names`, in version 1 `modality`), labels, regions, the label ignore, and `file_ending`.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from medzoo.data.dataset import DataEntry, Item, Sample
from medzoo.data.file_names import is_hidden
from medzoo.data.sighting import Listing, Sighting
from medzoo.data.volumes import DatasetJson, DatasetJsonParams, described
from medzoo.errors import UserError
from medzoo.io import read_image
from medzoo.io.formats import format_of
from medzoo.io.sequences import read_channels


class Nnunet(DatasetJson):
    """Items are the cases of labelsTr; group "case"."""

    def items(self) -> Sequence[Item]:
        """The cases by name. Raises UserError that names the file."""
        channels = self.document.get("channel_names") or self.document.get("modality")
        if not isinstance(channels, dict) or not channels:
            raise UserError("has neither channel_names nor modality", self.where)
        ending = str(self.document.get("file_ending", ".nii.gz"))
        folder = self.params.root / "labelsTr"
        found = sorted(path for path in folder.glob(f"*{ending}") if path.is_file())
        labels = [path for path in found if not is_hidden(path.name)]
        if not labels:
            raise UserError(f"has no label map *{ending}", str(folder))
        assert self.table
        items = []
        for label in labels:
            case = label.name.removesuffix(ending)
            files = {"label": label}
            for number in range(len(channels)):
                path = self.params.root / "imagesTr" / f"{case}_{number:04d}{ending}"
                if number and self.pictures and not (path.is_file() or self.several):
                    break  # the three channels of a colour picture are one file
                if not path.is_file():
                    raise UserError("no such file", str(path), f"channel {number} of the case {case}")
                files[f"channel-{number}"] = path
            items.append(Item(case, files, self.groups(case)))
        return items

    @cached_property
    def pictures(self) -> bool:
        """True where the images are pictures and not scans."""
        return format_of(f"case{self.document.get('file_ending', '.nii.gz')}") == "picture"

    @cached_property
    def several(self) -> bool:
        """True where cases have more than one file."""
        return any((self.params.root / "imagesTr").glob(f"*_0001{self.document.get('file_ending', '.nii.gz')}"))

    def load(self, item: Item) -> Sample:
        """The image with its label map. Raises UserError that names the file."""
        paths = [path for role, path in item.files.items() if role.startswith("channel-")]
        if self.pictures:
            read = [read_image(path, kind="picture") for path in paths]
            image = (
                read[0] if len(read) == 1 else read[0].replace(array=np.concatenate([one.array[:1] for one in read]))
            )
        else:
            image = read_channels(paths)
        return self.labelled(item, image)


def recognise(listing: Listing) -> Sighting | None:
    """A dataset.json that names channels, and cases numbered by channel."""
    numbered = any("_0000." in name for name in listing.matching("*imagestr/*"))
    return described(
        listing, lambda document: numbered and bool(document.get("channel_names") or document.get("modality"))
    )


ENTRY = DataEntry(params=DatasetJsonParams, tasks=("segment",), open=Nnunet, image="scan", recognise=recognise)
