"""How a pickled Predictor comes back in another process: its model is opened again, never unpickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medzoo.artifact.folder import sha256
from medzoo.artifact.manifest import DIGEST
from medzoo.errors import UserError
from medzoo.runtime.backends.remote import is_url
from medzoo.runtime.predictor import Predictor


@dataclass(frozen=True)
class Reopen:
    """The arguments of `medzoo.load`, and the digest of the model that they gave: `Predictor.reopen`.

    `model`: a server's URL, or the absolute path of a model folder or ONNX file. `digest`: see `model_digest`; None of
    a URL. Neither weights nor the token of a server are in it.
    """

    model: str
    digest: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self) -> Predictor:
        """The Predictor. Raises UserError if the model is not there, or not the one that was pickled."""
        from medzoo.commands.model import load

        if self.digest is not None:
            path = Path(self.model)
            if not path.exists():
                raise UserError("the model of this pickle is not here", self.model, "bring it to the same path")
            if model_digest(path) != self.digest:
                raise UserError(
                    "is another model than when this was pickled", self.model, "load it anew with medzoo.load"
                )
        return load(self.model, **self.options)


def reopen(model: str | Path, **options: Any) -> Reopen:
    """How to come back to MODEL, a URL or a path that exists, with the `options` of `medzoo.load`."""
    if is_url(model):
        return Reopen(str(model), None, options)
    path = Path(model).resolve()
    return Reopen(str(path), model_digest(path), options)


def model_digest(path: Path) -> str:
    """SHA-256 of an ONNX file, or of a model folder's manifest, which holds the digests of all its files."""
    if path.is_file():
        return sha256(path)
    return hashlib.sha256((path / DIGEST).read_bytes()).hexdigest()
