"""All host steps by name, made from recipes or ONNX metadata and run in order.

A new step is a file beside this one and a line in `STEPS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError

from medzoo.errors import Fault, UserError
from medzoo.preprocess.clahe import Clahe
from medzoo.preprocess.crop_foreground import CropForeground
from medzoo.preprocess.crop_mass import CropMass
from medzoo.preprocess.despeckle import Despeckle
from medzoo.preprocess.equalise import Equalise
from medzoo.preprocess.features import Features
from medzoo.preprocess.knn_smooth import KnnSmooth
from medzoo.preprocess.log_subtract import LogSubtract
from medzoo.preprocess.luma import Luma
from medzoo.preprocess.n4 import N4
from medzoo.preprocess.orient import Orient
from medzoo.preprocess.outline_features import OutlineFeatures
from medzoo.preprocess.rescale_percentiles import RescalePercentiles
from medzoo.preprocess.selective_search import SelectiveSearch
from medzoo.preprocess.spacing import Spacing
from medzoo.preprocess.step import HostStep
from medzoo.preprocess.suv import Suv
from medzoo.preprocess.tissue_levels import TissueLevels
from medzoo.preprocess.window import Window
from medzoo.preprocess.zscore import ZScore
from medzoo.types import Frame, Image

STEPS: tuple[type[HostStep], ...] = (
    Orient,
    Spacing,
    ZScore,
    TissueLevels,
    Window,
    RescalePercentiles,
    CropForeground,
    CropMass,
    Luma,
    KnnSmooth,
    Despeckle,
    LogSubtract,
    Suv,
    N4,
    Equalise,
    Clahe,
    Features,
    OutlineFeatures,
    SelectiveSearch,
)
HOST_STEPS: Mapping[str, type[HostStep]] = MappingProxyType(
    {str(step.model_fields["op"].default): step for step in STEPS}
)


def parse_steps(raw: Sequence[Mapping[str, Any]], *, where: str = "preprocess.host") -> tuple[HostStep, ...]:
    """Steps from their plain form, `[{"op": "orient", "to": "RAS"}]`. Raises UserError with every fault."""
    steps: list[HostStep] = []
    faults: list[Fault] = []
    for n, options in enumerate(raw):
        place = f"{where}[{n}]"
        name = options.get("op")
        kind = HOST_STEPS.get(str(name))
        if kind is None:
            near = get_close_matches(str(name), HOST_STEPS, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(HOST_STEPS)}"
            faults.append(Fault(f"unknown step {name!r}", place, known))
            continue
        try:
            steps.append(kind.model_validate(dict(options)))
        except ValidationError as error:
            for e in error.errors():
                field = ".".join([place, *map(str, e["loc"])])
                faults.append(Fault(e["msg"].removeprefix("Value error, "), field))
    if faults:
        raise UserError.of(faults)
    return tuple(steps)


def apply_steps(image: Image, steps: Sequence[HostStep]) -> tuple[Image, Frame]:
    """The image after all `steps`, and the frame that leads from it back to `image`. Raises UserError."""
    frame = Frame.of(image)
    for step in steps:
        image, frame = step.apply(image, frame)
    return image, frame
