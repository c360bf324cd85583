"""The model folder that every stage exchanges, the index of released ones, and how they come to this machine."""

from medzoo.artifact.folder import ModelFolder, check, sha256, write_folder
from medzoo.artifact.manifest import DIGEST, MANIFEST

__all__ = ["DIGEST", "MANIFEST", "ModelFolder", "check", "sha256", "write_folder"]
