"""`alexnet`: the slides' network and the one of 2012, with the two-GPU split written as groups.

algorithms.md section 8; Krizhevsky, Sutskever and Hinton, NIPS 2012. The slides' variant has 5x5 and 3x3
kernels, stride 4 in the first layer alone, pooling 2/2 and no normalisation: 74,372,456 parameters at 1000
classes. That of 2012 has 60,965,224.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from torch import Tensor, nn

from medzoo.nn.classifier import Classifier, ClassifierParams
from medzoo.nn.ensemble import ensembled
from medzoo.nn.layers import LocalResponseNorm
from medzoo.nn.net import Entry, Spec

Width = Annotated[int, Field(ge=1)]
Even = Annotated[int, Field(ge=2, multiple_of=2)]


class AlexNetParams(ClassifierParams):
    """Parameters of `alexnet`; the widths are the source's, smaller ones keep the structure."""

    variant: Literal["slides", "2012"] = Field("slides", description="which of the two networks")
    channels: int = Field(3, ge=1, description="1: grey (colour by its luma), 3: colour")
    widths: tuple[Even, Even, Even, Even, Even] = Field(
        (96, 256, 384, 384, 256), description="channels of the five convolutions"
    )
    hidden: tuple[Width, Width] = Field((4096, 4096), description="units of the two fully connected layers")
    dropout: float = Field(0.5, ge=0, lt=1, description="dropout before each fully connected layer of hidden units")
    batch_norm: bool = Field(False, description="batch norm after each convolution (not in the sources)")


class AlexNet(Classifier):
    """Five convolutions, three poolings, three fully connected layers."""

    def __init__(self, params: AlexNetParams, spec: Spec) -> None:
        super().__init__(params, spec)
        slides = params.variant == "slides"
        widths = (params.channels, *params.widths)
        kernels = (5, 3, 3, 3, 3) if slides else (11, 5, 3, 3, 3)
        pads = (2, 1, 1, 1, 1) if slides else (2, 2, 1, 1, 1)
        groups = (1, 2, 1, 2, 2)
        layers: list[nn.Module] = []
        for i in range(5):
            conv = nn.Conv2d(
                widths[i], widths[i + 1], kernels[i], stride=4 if i == 0 else 1, padding=pads[i], groups=groups[i]
            )
            layers.append(conv)
            if params.batch_norm:
                layers.append(nn.BatchNorm2d(widths[i + 1]))
            layers.append(nn.ReLU(inplace=True))
            if not slides and i < 2:
                # torch and ONNX divide alpha by the size: this is the paper's 1e-4.
                layers.append(LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0, whole=False))
            if i in (0, 1, 4):
                layers.append(nn.MaxPool2d(2, 2) if slides else nn.MaxPool2d(3, 2))
        self.features = nn.Sequential(*layers)
        height, width = (_winograd_rest(n, slides=slides) for n in params.size)
        first, second = params.hidden
        self.head = nn.Sequential(
            nn.Dropout(params.dropout),
            nn.Linear(widths[-1] * height * width, first),
            nn.ReLU(inplace=True),
            nn.Dropout(params.dropout),
            nn.Linear(first, second),
            nn.ReLU(inplace=True),
            nn.Linear(second, len(spec.labels)),
        )
        for layer in self.modules():
            # The paper's fixed deviation of 0.01 needs its learning rate and its days; this scales by fan-in.
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        nn.init.normal_(last.weight, std=0.01)

    def network(self, x: Tensor) -> Tensor:
        """See Classifier.network."""
        logits: Tensor = self.head(self.features(x).flatten(1))
        return logits


def _winograd_rest(length: int, *, slides: bool) -> int:
    """The side that convolutions and poolings leave of an image's: 7 of 224 for the slides', 6 of 227 for 2012."""
    if slides:
        return ((length - 1) // 4 + 1) // 2 // 2 // 2
    first = (length + 4 - 11) // 4 + 1
    for _ in range(3):
        first = (first - 3) // 2 + 1
    return first


ENTRY = Entry(
    task="classify",
    params=AlexNetParams,
    learns="gradient",
    build=ensembled(AlexNet),
    tiny={"channels": 1, "size": (64, 64), "widths": (4, 6, 8, 8, 6), "hidden": (16, 16), "dropout": 0.0},
)
