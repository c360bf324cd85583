"""`medzoo predict --explain`: Grad-CAM heat maps and feature maps of a classifier."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medzoo.artifact.locate import find_model
from medzoo.commands.output_names import output_names, refuse_overwrite
from medzoo.commands.predict import write_result
from medzoo.data.catalog import has_torch
from medzoo.errors import UserError, as_user_error
from medzoo.loading.backend import open_backend
from medzoo.plots.canvas import save_png
from medzoo.plots.heat import draw_heat, draw_maps
from medzoo.preprocess.extras import mass
from medzoo.results import Classification, Failure
from medzoo.runtime.backends.remote import is_url
from medzoo.runtime.predictor import Predictor
from medzoo.runtime.prepared import Prepared

_ROWS = 8  # of the sheet of maps


@dataclass(frozen=True)
class Explanation:
    """The label that a picture was explained for, and the files: its heat map, and its feature maps."""

    label: str
    heat: Path
    maps: Path

    def to_dict(self) -> dict[str, str]:
        """For `predict --json`."""
        return {"label": self.label, "heat": str(self.heat), "maps": str(self.maps)}


class Explainer:
    """A picture classifier opened with torch. Raises UserError where torch is not installed, or only an ONNX file
    or a server is given: gradients need the network itself."""

    def __init__(self, model: str | Path, *, device: Any = "auto", threshold: float | None = None) -> None:
        hint = "give the model folder, with medzoo[train] installed"
        if is_url(model):
            raise UserError("explanations need the network itself, but this is a server", str(model), hint)
        path = find_model(model)
        if path.is_file():
            raise UserError("explanations need the network itself, but this is an ONNX file", str(path), hint)
        if not has_torch():
            raise UserError(
                "explanations need the network itself, and PyTorch is not installed",
                str(path),
                'pip install "medzoo[train]", or leave --explain out',
            )
        backend: Any = open_backend(path, backend="torch", device=device)
        from medzoo.nn.classifier import Classifier

        if not isinstance(backend.net, Classifier):
            raise UserError(
                "Grad-CAM works on picture classifiers, and this model is not one",
                where=str(path),
                hint="leave --explain out",
            )
        self.net = backend.net
        self.predictor = Predictor(backend, threshold=threshold)

    def explain(self, prepared: Prepared, label: str, base: Path) -> Explanation:
        """Write BASE_heat.png and BASE_maps.png: what in the input speaks for `label`, and what the layers made of
        it. Of several outlines of one mass the one that weighs most. Raises UserError."""
        import torch

        from medzoo.nn.explain import feature_maps, grad_cam

        array = prepared.image.array
        measured = mass(prepared.extras)
        if measured is not None:
            array = array[max(range(len(array)), key=lambda row: measured.weights[row])]
        image = torch.from_numpy(array[None]).to(next(self.net.parameters()).device)
        labels = self.predictor.metadata.labels
        heat = grad_cam(self.net, image, labels.index(label))
        shown = prepared.image.replace(array=array)
        heat_file = save_png(
            base.with_name(f"{base.name}_heat.png"), draw_heat(shown, heat, title=f"{label}: Grad-CAM")
        )
        layers = [(found.layer, found.maps) for found in feature_maps(self.net, image)]
        # From edges and texture to what is left of them: rows spread over the depth tell enough.
        count = min(_ROWS, len(layers))
        picked = [layers[round(k * (len(layers) - 1) / max(1, count - 1))] for k in range(count)]
        maps_file = save_png(
            base.with_name(f"{base.name}_maps.png"),
            draw_maps(picked, title=f"{Path(prepared.name).name}: feature maps"),
        )
        return Explanation(label, heat_file, maps_file)


def explain_files(
    explainer: Explainer, inputs: Sequence[str], *, out: Path, pictures: bool = True, **options: Any
) -> Iterator[tuple[Classification | Failure, Explanation | None]]:
    """Predict and explain `inputs` in order, one after another; files as in `predict_files`, and the two pictures.

    A Failure, without an explanation, stands in the place of an input that cannot be answered or explained.
    """
    names = output_names(inputs)
    read = [str(options["mask"])] if isinstance(options.get("mask"), str | Path) else []
    refuse_overwrite([*inputs, *read], [out / name for name in names], pictures=pictures)
    for source, name in zip(inputs, names, strict=True):
        base = out / name
        try:
            prepared = explainer.predictor.prepare(source, **options)
            result: Any = explainer.predictor.predict_prepared(prepared)
            explanation = explainer.explain(prepared, result.label, base)
            yield write_result(result, base, pictures=pictures), explanation
        except Exception as error:  # one input's fault is no reason to leave the others
            yield Failure(input=source, error=as_user_error(error, source)), None
