"""One door to every segmenter: `load_segmenter`."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

from samreg.errors import ModelError

if TYPE_CHECKING:
    from samreg.segmenters.base import Segmenter

__all__ = ["load_segmenter"]


def load_segmenter(name: str, *, engine: str = "auto", device: str = "auto", precision: str = "auto") -> Segmenter:
    """A segmenter, ready to encode and to be prompted.

    Args:
        name: `litemedsam`, a Hugging Face id, a model folder, or a checkpoint file.
        engine: `auto`, `torch` or `openvino`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `float32`, `bfloat16` or `float16`.

    Raises:
        ModelError: if the weights are missing, damaged, or of an architecture samreg does not know.
        MissingDependencyError: if a package that this segmenter needs is not installed.
    """
    import torch

    from samreg.segmenters import litemedsam
    from samreg.segmenters.checkpoints import read_torch_checkpoint, sha256_of
    from samreg.segmenters.engine import make_engine
    from samreg.segmenters.network import SamNetwork
    from samreg.segmenters.sam_decoder import DecoderSpec
    from samreg.segmenters.sam_segmenter import InputSpec, SamSegmenter
    from samreg.segmenters.tinyvit import LITEMEDSAM, TinyViT

    if name != "litemedsam":
        raise ModelError(f"there is no segmenter {name!r}; `samreg models` lists what there is")
    path = litemedsam.weights_path()
    fingerprint = sha256_of(path)
    if fingerprint != litemedsam.SHA256:
        raise ModelError(
            f"{path}: sha256 {fingerprint[:12]}... is not that of LiteMedSAM; reinstall {litemedsam.PACKAGE}"
        )
    with torch.device("meta"):
        network = SamNetwork(TinyViT(LITEMEDSAM), DecoderSpec(grid=64), size=256)
    network.settle(read_torch_checkpoint(path))
    prompt_encoder = copy.deepcopy(network.prompt_encoder)
    computes = make_engine(network, fingerprint, engine, device, precision)
    return SamSegmenter(
        "litemedsam", fingerprint, "LiteMedSAM", "boxes", False, InputSpec(256), prompt_encoder, computes
    )
