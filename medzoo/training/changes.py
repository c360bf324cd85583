"""Every random change that a recipe may name in `train.augment`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from medzoo.errors import UserError
from medzoo.training.augment import AUGMENTATIONS, Augmentation
from medzoo.training.blobs import Blobs
from medzoo.training.lesion_paste import LesionPaste

# Changes that add objects, which only a feed of whole pictures with boxes can take.
_WITH_OBJECTS: Mapping[str, type[Augmentation]] = {"blobs": Blobs, "lesion-paste": LesionPaste}

CHANGES: Mapping[str, type[Augmentation]] = MappingProxyType({**AUGMENTATIONS, **_WITH_OBJECTS})


def refuse_objects(changes: Sequence[Augmentation]) -> None:
    """Raises UserError for a change that adds objects, where a feed has no boxes of whole pictures."""
    for number, change in enumerate(changes):
        for name, kind in _WITH_OBJECTS.items():
            if isinstance(change, kind):
                raise UserError(
                    f"{name} adds objects to the whole pictures of a detector, this model is fed otherwise",
                    where=f"train.augment[{number}]",
                    hint=f"leave {name} out",
                )
