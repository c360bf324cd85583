"""The base of every prediction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

from medzoo.errors import UserError
from medzoo.escape import escaped, json_text
from medzoo.guard.record import Familiar
from medzoo.io.atomic import atomic_write, protect_inputs
from medzoo.io.formats import suffix
from medzoo.types import Image


@dataclass(frozen=True, eq=False, kw_only=True, repr=False)
class Result(ABC):
    """A prediction of one image.

    `input`: the source as it was given; `model`, `task`: the model's; `image`: the source image, where it was kept;
    `seconds`: the time that the prediction took; `notes`: how the image was changed or what to watch out for.
    `familiar`: whether the input is of the kind that the model was trained on; None where the model has no guard.
    `error` is None; that of a `Failure` is not.
    """

    error: ClassVar[None] = None
    task: str
    input: str
    model: str
    image: Image | None
    seconds: float = 0.0
    notes: Sequence[str] = ()
    familiar: Familiar | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.input!r} by {self.model!r}: {escaped(self._summary())}>"

    @property
    def _strangeness(self) -> str:
        """Return the words for a picture's title if the input may not be of the kind that the model was trained on."""
        if self.familiar is None or self.familiar.verdict == "yes":
            return ""
        return f" ({'may be' if self.familiar.verdict == 'unsure' else 'is'} unlike the training data)"

    def _repr_html_(self) -> str:
        """The result as a notebook shows it: the drawing with the words of `repr` below; the words alone where there is
        nothing to draw on."""
        import base64
        import html
        import tempfile

        words = html.escape(repr(self))
        try:
            with tempfile.TemporaryDirectory(prefix="medzoo-") as folder:
                data = base64.b64encode(self.plot(Path(folder) / "drawing.png").read_bytes()).decode()
        except UserError as error:
            return f"<pre>{words}\n{html.escape(str(error))}</pre>"
        style = "max-width: 100%; max-height: 40em"
        picture = f'<img alt="" src="data:image/png;base64,{data}" style="{style}">'
        return f'<figure style="margin: 0">{picture}<figcaption><code>{words}</code></figcaption></figure>'

    @abstractmethod
    def _summary(self) -> str:
        """The prediction in a few words."""

    def to_dict(self) -> dict[str, Any]:
        """The object of `predict --json`."""
        document: dict[str, Any] = {
            "input": self.input,
            "model": self.model,
            "task": self.task,
            "seconds": round(float(self.seconds), 4),
        }
        if self.familiar is not None:
            document["familiar"] = self.familiar.to_dict()
        meta = {} if self.image is None else self.image.meta
        # What was assumed about the place of an image whose file does not state it, and what was blanked in it.
        document |= {key: meta[key] for key in ("assumed", "blanked") if key in meta}
        # The notes of the image name contradictions in its header and values that were converted.
        if notes := list(dict.fromkeys([*meta.get("notes", ()), *self.notes])):
            document["notes"] = notes
        return document

    def save(self, path: str | Path) -> Self:
        """Write `to_dict()` as JSON (.json); returns self. Raises UserError.

        >>> result = medzoo.load("breast-lesion-rcnn").predict("phantom.png")
        >>> result.save("found.json").plot("found.png").name
        'found.png'
        """
        self._refuse_sources(path)
        if suffix(path) != ".json":
            raise UserError("this result is saved as .json", str(path), "plot(...) draws it as .png")
        text = json_text(self.to_dict(), indent=2) + "\n"
        atomic_write(path, lambda handle: handle.write(text.encode()))
        return self

    @abstractmethod
    def plot(self, path: str | Path, **options: Any) -> Path:
        """Draw the prediction as PNG; returns the path. Raises UserError."""

    def _refuse_sources(self, path: str | Path) -> None:
        """Refuse a path that is one of the files the image was read from."""
        image = self.image
        files = (self.input,) if image is None else (image.source, *map(str, image.meta.get("files", ())))
        protect_inputs(path, *files)
