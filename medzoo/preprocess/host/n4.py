"""`n4`: N4 bias field correction of an MR volume."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from medzoo.errors import missing_extra
from medzoo.io.check import volume_needed
from medzoo.preprocess.step import HostStep
from medzoo.types import GridTransform, Image


class N4(HostStep):
    """N4 bias correction (Tustison et al., IEEE TMI 29:1310, 2010) as SimpleITK does it, estimated on a grid `shrink`
    times coarser over the voxels that are not zero, in float32; the mean there is kept. Needs the extra `bias`.
    """

    op: Literal["n4"] = "n4"
    shrink: Annotated[int, Field(ge=1, le=64)] = 4
    iterations: Annotated[int, Field(ge=1, le=1000)] = 50

    def apply(self, image: Image, transform: GridTransform) -> tuple[Image, GridTransform]:
        """The corrected volume; nothing moves. Raises UserError for a picture, and without SimpleITK."""
        if image.affine is None:
            raise volume_needed(image, "is a picture, but N4 corrects volumes")
        try:
            import SimpleITK
        except ImportError:
            raise missing_extra("SimpleITK", "bias") from None
        channels = []
        for channel in image.array:
            whole = SimpleITK.GetImageFromArray(channel.astype(np.float32))
            whole.SetSpacing(image.spacing[::-1])  # its axes are counted from the last
            inside = SimpleITK.GetImageFromArray((channel != 0).astype(np.uint8))
            inside.CopyInformation(whole)
            factors = [min(self.shrink, max(1, n // 8)) for n in whole.GetSize()]
            small, small_inside = SimpleITK.Shrink(whole, factors), SimpleITK.Shrink(inside, factors)
            corrector = SimpleITK.N4BiasFieldCorrectionImageFilter()
            corrector.SetMaximumNumberOfIterations([self.iterations] * 3)
            corrector.SetNumberOfThreads(1)  # the same on every machine
            corrector.Execute(small, small_inside)
            field = np.exp(SimpleITK.GetArrayFromImage(corrector.GetLogBiasFieldAsImage(whole)))
            corrected = channel.astype(np.float32) / field.astype(np.float32)
            counted = channel != 0
            corrected *= np.float32(channel[counted].mean(dtype=np.float64) / corrected[counted].mean(dtype=np.float64))
            channels.append(corrected)
        return image.replace(array=np.stack(channels)), transform


ENTRY = N4
