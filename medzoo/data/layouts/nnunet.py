"""`nnunet`: a raw data folder of nnU-Net, version 1 or 2 (Isensee et al., Nature Methods 2021).

`imagesTr/CASE_0000.nii.gz`, one file a channel, and `labelsTr/CASE.nii.gz`; `dataset.json` names channels
(`channel_names`, in version 1 `modality`), labels and `file_ending`.
"""

from __future__ import annotations

from collections.abc import Sequence

from medzoo.data.dataset import DataEntry, Item, Sample
from medzoo.data.file_names import is_hidden
from medzoo.data.volumes import DatasetJson, DatasetJsonParams
from medzoo.errors import UserError
from medzoo.io.sequences import read_channels


class Nnunet(DatasetJson):
    """Items are the cases of labelsTr; group "case"."""

    def items(self) -> Sequence[Item]:
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
                if not path.is_file():
                    raise UserError("no such file", str(path), f"channel {number} of the case {case}")
                files[f"channel-{number}"] = path
            items.append(Item(case, files, {"case": case}))
        return items

    def load(self, item: Item) -> Sample:
        image = read_channels([path for role, path in item.files.items() if role.startswith("channel-")])
        return self.labelled(item, image)


ENTRY = DataEntry(params=DatasetJsonParams, tasks=("segment",), open=Nnunet, image="scan")
