"""The network of a table of tensors, recognised by the names and shapes of the tensors themselves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from samreg.errors import ModelError
from samreg.segmenters.sam.hq_decoder import HqMaskDecoder
from samreg.segmenters.sam.network import SamNetwork
from samreg.segmenters.sam.sam2 import Sam2MaskDecoder, Sam2Network
from samreg.segmenters.sam.tinyvit import LITEMEDSAM, MOBILESAM, TinyViT
from samreg.segmenters.sam.transformer import DecoderSpec
from samreg.segmenters.sam.vit import ViT, ViTSpec

__all__ = ["InputSpec", "Model", "build", "build_sam2"]

_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

_TINY_STEM = "image_encoder.patch_embed.seq.0.c.weight"
_VIT_STEM = "image_encoder.patch_embed.proj.weight"
_UNUSED = ("image_encoder.norm_head.", "image_encoder.head.", "pixel_mean", "pixel_std")
"""Tensors of checkpoints on which no mask depends: TinyViT's classification head, SAM's own normalisation."""


@dataclass(frozen=True)
class InputSpec:
    """The input that an image encoder expects.

    Args:
        size: side of the square input in pixels.
        mean: subtracted from RGB values in [0, 1].
        std: divided by after that.
    """

    size: int
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)


@dataclass(frozen=True, eq=False)
class Model:
    """A network with its weights, and how to use it.

    Args:
        network: the network, ready for inference.
        input_spec: the input that its encoder expects.
        prompt_kind: the prompts it was trained on.
        multimask: whether it was trained to give three masks.
    """

    network: SamNetwork
    input_spec: InputSpec
    prompt_kind: Literal["boxes", "points"]
    multimask: bool


def build(state: Mapping[str, Tensor], source: str, *, medsam: bool, heads: int = 8, eps: float = 1e-5) -> Model:
    """The model of a checkpoint with original names.

    Args:
        state: tensors by name.
        source: where they came from, for error messages.
        medsam: use MedSAM's input (values in [0, 1]) and prompts (boxes) for a network of SAM's shape.
        heads: attention heads of the mask decoder; no tensor contains their number.
        eps: epsilon of the mask decoder's normalisation.

    Raises:
        ModelError: if the tensors are not of a known member of the family, or not complete.
    """
    state = {name: value for name, value in state.items() if not name.startswith(_UNUSED)}
    if any(name.startswith("image_encoder.trunk.") for name in state):
        raise ModelError(
            f"{source}: a SAM 2 checkpoint in Meta's own layout; give the Hugging Face id or folder of the same model, "
            "for example facebook/sam2.1-hiera-tiny"
        )
    if not ({_TINY_STEM, _VIT_STEM} & set(state)) or "mask_decoder.iou_token.weight" not in state:
        raise ModelError(
            f"{source}: {len(state)} tensors, but of no network of the SAM family "
            f"(first: {next(iter(state), 'none')}); `samreg models` lists what is known"
        )
    try:
        with torch.device("meta"):
            model = _tiny(state, heads, eps) if _TINY_STEM in state else _vit(state, heads, eps, medsam=medsam)
    except (KeyError, IndexError, ZeroDivisionError, AttributeError) as error:
        raise ModelError(
            f"{source}: incomplete weights, {error} is missing or misshapen; download them again"
        ) from None
    _set_weights(model.network, state, source)
    return model


def build_sam2(
    encoder: nn.Module,
    state: Mapping[str, Tensor],
    source: str,
    *,
    size: int,
    patch: int,
    heads: int,
    stability_delta: float,
    stability_threshold: float | None,
) -> Model:
    """SAM 2 for single images: the encoder of transformers, and the decoder of its weights.

    Args:
        encoder: transformers' `Sam2VisionModel`, with its weights.
        state: tensors of the other parts, with original names.
        source: where they came from, for error messages.
        size: side of the square input in pixels.
        patch: side in pixels of a cell of the embedding.
        heads: attention heads of the mask decoder.
        stability_delta: as for `Sam2MaskDecoder`.
        stability_threshold: as for `Sam2MaskDecoder`.

    Raises:
        ModelError: if the tensors do not fit the network.
    """
    spec = _decoder_spec(state, size // patch, heads, 1e-5)
    with torch.device("meta"):
        decoder = Sam2MaskDecoder(spec, stability_delta, stability_threshold)
        network = Sam2Network(encoder, spec, size, decoder, _mask_channels(state))
    weights = {**state, **{f"image_encoder.{name}": value for name, value in encoder.state_dict().items()}}
    _set_weights(network, weights, source)
    return Model(network, InputSpec(size, _IMAGENET_MEAN, _IMAGENET_STD), "points", multimask=True)


def _set_weights(network: SamNetwork, state: Mapping[str, Tensor], source: str) -> None:
    """Load weights into a network; a ModelError in one line if names or shapes differ."""
    try:
        network.set_weights({name: value.float() for name, value in state.items()})
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()[1:] if line.strip()]
        detail = lines[0][:160] if lines else str(error)[:160]
        raise ModelError(f"{source}: the weights do not fit the network they look like: {detail}") from None


def _decoder_spec(state: Mapping[str, Tensor], grid: int, heads: int, eps: float) -> DecoderSpec:
    """Shape of the mask decoder, from its tensors."""
    blocks = _count(state, "mask_decoder.transformer.layers.")
    channels = state["mask_decoder.iou_token.weight"].shape[1]
    block = "mask_decoder.transformer.layers.0."
    return DecoderSpec(
        grid=grid,
        channels=channels,
        heads=heads,
        depth=blocks,
        mlp_hidden=state[block + "mlp.lin1.weight"].shape[0],
        shrink=channels // state[block + "cross_attn_token_to_image.q_proj.weight"].shape[0],
        n_multimask=state["mask_decoder.mask_tokens.weight"].shape[0] - 1,
        iou_hidden=state["mask_decoder.iou_prediction_head.layers.0.weight"].shape[0],
        iou_depth=_count(state, "mask_decoder.iou_prediction_head.layers."),
        eps=eps,
    )


def _mask_channels(state: Mapping[str, Tensor]) -> int:
    """Hidden channels of the network that shrinks mask prompts."""
    return state["prompt_encoder.mask_downscaling.3.weight"].shape[0]


def _count(state: Mapping[str, Tensor], prefix: str) -> int:
    return 1 + max(int(name[len(prefix) :].split(".")[0]) for name in state if name.startswith(prefix))


def _tiny(state: Mapping[str, Tensor], heads: int, eps: float) -> Model:
    lite = state[_TINY_STEM].shape[-1] == 1
    spec = LITEMEDSAM if lite else MOBILESAM
    size = 256 if lite else 1024
    network = SamNetwork(TinyViT(spec), _decoder_spec(state, 64, heads, eps), size, _mask_channels(state))
    if lite:
        return Model(network, InputSpec(size), "boxes", multimask=False)
    return Model(network, InputSpec(size, _IMAGENET_MEAN, _IMAGENET_STD), "points", multimask=True)


def _vit(state: Mapping[str, Tensor], heads: int, eps: float, *, medsam: bool) -> Model:
    high_quality = "mask_decoder.hf_token.weight" in state
    encoder = _vit_spec(state, early=high_quality)
    spec = _decoder_spec(state, encoder.grid, heads, eps)
    decoder = HqMaskDecoder(spec, encoder.dim) if high_quality else None
    network = SamNetwork(ViT(encoder), spec, encoder.size, _mask_channels(state), decoder=decoder)
    if medsam:
        return Model(network, InputSpec(encoder.size), "boxes", multimask=False)
    return Model(network, InputSpec(encoder.size, _IMAGENET_MEAN, _IMAGENET_STD), "points", multimask=True)


def _vit_spec(state: Mapping[str, Tensor], *, early: bool) -> ViTSpec:
    stem = state[_VIT_STEM]
    dim, patch = stem.shape[0], stem.shape[-1]
    grid = state["image_encoder.pos_embed"].shape[1]
    depth = _count(state, "image_encoder.blocks.")
    # A block that attends to everything has relative positions for the whole grid.
    sides = [(state[f"image_encoder.blocks.{i}.attn.rel_pos_h"].shape[0] + 1) // 2 for i in range(depth)]
    windows = [side for side in sides if side != grid]
    return ViTSpec(
        size=grid * patch,
        patch=patch,
        dim=dim,
        depth=depth,
        heads=dim // state["image_encoder.blocks.0.attn.rel_pos_h"].shape[1],
        mlp_hidden=state["image_encoder.blocks.0.mlp.lin1.weight"].shape[0],
        window=windows[0] if windows else 0,
        global_blocks=tuple(i for i, side in enumerate(sides) if side == grid),
        out_channels=state["image_encoder.neck.0.weight"].shape[0],
        qkv_bias="image_encoder.blocks.0.attn.qkv.bias" in state,
        early=early,
    )
