"""`medzoo predict --explain`: where a classifier looked, and what its layers made of the picture."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medzoo.commands.locate import find_model
from medzoo.commands.model import open_backend
from medzoo.errors import UserError
from medzoo.plots.canvas import save_png
from medzoo.plots.heat import draw_heat, draw_maps
from medzoo.runtime.predictor import Predictor


@dataclass(frozen=True)
class Explanation:
    """The answer for an input, and the pictures that explain it."""

    label: str
    heat: Path
    maps: Path


class Explainer:
    """A model folder opened with torch. Raises UserError where torch is not installed, or only an ONNX file is
    given: gradients need the network itself."""

    def __init__(self, model: str | Path, *, device: Any = "auto") -> None:
        path = find_model(model)
        if path.is_file():
            raise UserError(
                "explanations need the network itself, an ONNX file only answers",
                where=str(path),
                hint="give the model folder, with medzoo[train] installed",
            )
        backend: Any = open_backend(path, backend="torch", device=device)
        from medzoo.nn.classifier import Classifier

        if not isinstance(backend.net, Classifier):
            raise UserError(
                "Grad-CAM explains picture classifiers, this model is none", where=str(path), hint="leave --explain out"
            )
        self.net = backend.net
        self.predictor = Predictor(backend)

    def explain(self, source: Any, base: Path, *, label: str | None = None) -> Explanation:
        """Write BASE_heat.png and BASE_maps.png for `source`; of `label`, or the one that is answered."""
        import torch

        from medzoo.nn.explain import feature_maps, grad_cam

        prepared = self.predictor.prepare(source)
        labels = self.predictor.metadata.labels
        answered: Any = self.predictor.answer(prepared)
        wanted = label or answered.label
        if wanted not in labels:
            raise UserError(f"has no label {wanted!r}", where=self.predictor.metadata.name, hint=", ".join(labels))
        image = torch.from_numpy(prepared.image.array[None]).to(next(self.net.parameters()).device)
        heat = grad_cam(self.net, image, labels.index(wanted))
        words = f"{wanted} ({answered.probabilities[wanted]:.2f}): Grad-CAM"
        heat_file = save_png(base.with_name(f"{base.name}_heat.png"), draw_heat(prepared.image, heat, title=words))
        layers = [(found.layer, found.maps) for found in feature_maps(self.net, image)]
        # The first layers show edges and texture, the last what is left of them: six rows tell enough.
        picked = layers[:4] + layers[-2:] if len(layers) > 6 else layers
        maps_file = save_png(
            base.with_name(f"{base.name}_maps.png"), draw_maps(picked, title=f"{prepared.name}: feature maps")
        )
        return Explanation(wanted, heat_file, maps_file)
