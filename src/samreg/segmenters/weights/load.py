"""From the name of a segmenter to its weights: where they are, their sha256, and the network with them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from samreg.errors import ModelError
from samreg.files import sha256_of
from samreg.segmenters.weights import hugging_face, litemedsam

if TYPE_CHECKING:
    from samreg.segmenters.sam.architecture import Model

__all__ = ["Weights", "find_weights"]

_SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")


@dataclass(frozen=True)
class Weights:
    """Weights of a promptable segmenter; nothing is read, and nothing downloaded, before one of the methods is called.

    Args:
        kind: the embedded default, a file, a folder that transformers wrote, or an id of the Hugging Face hub.
        location: path or id, as the user gave it.
        medsam: whether a network of SAM's shape takes images and prompts as MedSAM does.
    """

    kind: Literal["litemedsam", "file", "folder", "hub"]
    location: str
    medsam: bool

    def fingerprint(self) -> str:
        """sha256 of the weights.

        Raises:
            ModelError: if the weights are missing, or not those of the embedded default.
            MissingDependencyError: if a package that has or fetches the weights is not installed.
        """
        if self.kind in ("folder", "hub"):
            return hugging_face.fingerprint(self._path, self.location)
        digest = sha256_of(self._path)
        if self.kind == "litemedsam" and digest != litemedsam.SHA256:
            raise ModelError(
                f"{self._path}: sha256 {digest[:12]}... is not that of LiteMedSAM; reinstall {litemedsam.PACKAGE}"
            )
        return digest

    def load(self) -> Model:
        """The network with these weights.

        Raises:
            ModelError: if the weights are missing, damaged, or of an architecture samreg does not know.
            MissingDependencyError: if a package that this segmenter needs is not installed.
        """
        if self.kind in ("folder", "hub"):
            return hugging_face.load_folder(self._path, self.location, medsam=self.medsam)
        from samreg.segmenters.sam.architecture import build
        from samreg.segmenters.weights.checkpoints import read_tensors
        from samreg.segmenters.weights.sam_names import original_names

        return build(original_names(read_tensors(self._path)), str(self._path), medsam=self.medsam)

    @cached_property
    def _path(self) -> Path:
        """The file or folder; found, or downloaded, once."""
        if self.kind == "litemedsam":
            return litemedsam.weights_path()
        if self.kind == "hub":
            return hugging_face.snapshot(self.location)
        return Path(self.location).expanduser()


def find_weights(name: str) -> Weights | None:
    """The weights that a name stands for, or None if it is neither a path nor written like an id of the hub.

    MedSAM has exactly the tensors of SAM ViT-B and differs in its input. `medsam` in the last part of the name decides;
    the prefixes `medsam:` and `sam:` override it.

    Args:
        name: `litemedsam`, a Hugging Face id, a model folder, or a checkpoint file.

    Raises:
        ModelError: if the name is a path and nothing is there.
    """
    if name == "litemedsam":
        return Weights("litemedsam", name, medsam=True)
    prefix, colon, rest = name.partition(":")
    location, medsam = name, "medsam" in Path(name).name.lower()
    if colon and prefix in ("sam", "medsam"):
        location, medsam = rest, prefix == "medsam"
    path = Path(location).expanduser()
    if path.is_file():
        return Weights("file", location, medsam)
    if path.is_dir():
        return Weights("folder", location, medsam)
    if path.suffix in _SUFFIXES or location.startswith((".", "/", "~")):
        raise ModelError(f"{location}: there is no such file or folder; give a checkpoint, a model folder or a hub id")
    return Weights("hub", location, medsam) if hugging_face.is_hub_id(location) else None
