"""Models of transformers, from a local folder or from the Hugging Face hub.

Only what the user named is fetched, by the hub's own client (its cache, its progress bars, `HF_HUB_OFFLINE`).
SAM and SAM-HQ run in samreg's own network; for SAM 2 the encoder is transformers'.
"""

from __future__ import annotations

import hashlib
import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from samreg.errors import MissingDependencyError, ModelError
from samreg.files import sha256_of
from samreg.segmenters.sam.architecture import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Model,
    build,
    decoder_spec,
    mask_channels,
    settle,
)
from samreg.segmenters.sam.segmenter import InputSpec
from samreg.segmenters.weights.checkpoints import read_safetensors, read_torch_checkpoint
from samreg.segmenters.weights.sam_names import original_names

__all__ = ["is_hub_id", "load_folder", "snapshot"]

_SAM2 = ("sam2", "sam2_video")


def is_hub_id(name: str) -> bool:
    """Whether a name is written like an id of the hub: owner/model."""
    return re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name) is not None


def snapshot(hub_id: str) -> Path:
    """Folder with a model of the hub; downloaded unless it is in the hub's cache already.

    Raises:
        MissingDependencyError: if huggingface-hub is not installed.
        ModelError: if there is no such model, no access to it, or no connection.
    """
    if find_spec("huggingface_hub") is None:
        raise MissingDependencyError("huggingface-hub", f"the model {hub_id}", "hf")
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    def fetch(patterns: list[str]) -> Path:
        return Path(snapshot_download(hub_id, allow_patterns=patterns))

    try:
        folder = fetch(["*.json", "*.safetensors"])
        # Weights in torch's own format only where there are no others: a repository often has both.
        return folder if any(folder.glob("*.safetensors")) else fetch(["*.json", "pytorch_model*.bin"])
    except GatedRepoError:
        raise ModelError(f"{hub_id}: the owner wants you to accept terms; do so on the hub and set HF_TOKEN") from None
    except (RepositoryNotFoundError, HFValidationError):
        raise ModelError(f"{hub_id}: there is no such model on the Hugging Face hub (or it is private)") from None
    except LocalEntryNotFoundError:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the hub cannot be reached"
        raise ModelError(
            f"{hub_id}: not in the local cache and {why}; go online once, or give a folder with its files"
        ) from None
    except (HfHubHTTPError, OSError) as error:
        raise ModelError(f"{hub_id}: cannot be fetched ({type(error).__name__}); check the connection") from None


def load_folder(folder: Path, name: str, *, medsam: bool) -> tuple[Model, str]:
    """A model folder as transformers writes it, and the sha256 of its weights.

    Args:
        folder: holds config.json and the weights.
        name: what the user gave, for error messages.
        medsam: use MedSAM's input and prompts for a network of SAM's shape.

    Raises:
        ModelError: if the folder is not a readable model of the family.
        MissingDependencyError: if SAM 2 is asked for without transformers.
    """
    config = _read_json(folder / "config.json")
    if config is None:
        raise ModelError(f"{name}: no config.json in this folder; give a folder that transformers wrote")
    kind = config.get("model_type")
    if kind not in ("sam", "sam_hq", *_SAM2):
        raise ModelError(f"{name}: model_type {kind!r} is not one of sam, sam_hq, sam2; `samreg models` lists families")
    files = _weight_files(folder, name)
    fingerprint = _fingerprint(files)
    if kind in _SAM2:
        return _sam2(folder, name), fingerprint
    decoder = config.get("mask_decoder_config") or {}
    state: dict[str, Tensor] = {}
    for file in files:
        state |= read_safetensors(file) if file.suffix == ".safetensors" else read_torch_checkpoint(file)
    model = build(
        original_names(state),
        name,
        medsam=medsam,
        heads=decoder.get("num_attention_heads", 8),
        eps=decoder.get("layer_norm_eps", 1e-6),
    )
    return model, fingerprint


def _read_json(path: Path) -> dict[str, Any] | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content if isinstance(content, dict) else None


def _weight_files(folder: Path, name: str) -> list[Path]:
    for pattern in ("*.safetensors", "pytorch_model*.bin"):
        if files := sorted(folder.glob(pattern)):
            return files
    raise ModelError(f"{name}: no weights (*.safetensors or pytorch_model*.bin) in this folder; download it again")


def _fingerprint(files: list[Path]) -> str:
    digests = [sha256_of(file) for file in files]
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _sam2(folder: Path, name: str) -> Model:
    if find_spec("transformers") is None:
        raise MissingDependencyError("transformers", "SAM 2", "hf")
    from safetensors import SafetensorError
    from transformers import Sam2Model
    from transformers.utils import logging

    from samreg.segmenters.sam.sam2 import Sam2MaskDecoder, Sam2Network

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()  # the folder may hold the video model, whose memory has no use here
    try:
        reference, report = Sam2Model.from_pretrained(
            folder, local_files_only=True, use_safetensors=None, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        raise ModelError(
            f"{name}: transformers cannot read this SAM 2 model ({str(error).splitlines()[0][:120]})"
        ) from None
    finally:
        logging.set_verbosity(verbosity)
    if report["missing_keys"]:
        raise ModelError(
            f"{name}: incomplete weights, {sorted(report['missing_keys'])[0]} is missing; download it again"
        )
    config = reference.config
    encoder = reference.vision_encoder
    state = {n: v for n, v in original_names(reference.state_dict()).items() if not n.startswith("image_encoder.")}
    grid = config.prompt_encoder_config.image_size // config.prompt_encoder_config.patch_size
    decoder_config = config.mask_decoder_config
    spec = decoder_spec(state, grid, decoder_config.num_attention_heads, 1e-5)
    threshold = decoder_config.dynamic_multimask_stability_thresh
    with torch.device("meta"):
        decoder = Sam2MaskDecoder(
            spec,
            decoder_config.dynamic_multimask_stability_delta,
            threshold if decoder_config.dynamic_multimask_via_stability else None,
        )
        size = config.prompt_encoder_config.image_size
        network = Sam2Network(encoder, spec, size, decoder, mask_channels(state))
    state |= {f"image_encoder.{n}": v for n, v in encoder.state_dict().items()}
    settle(network, state, name)
    return Model("SAM 2", network, InputSpec(size, IMAGENET_MEAN, IMAGENET_STD), "points", multimask=True)
