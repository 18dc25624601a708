"""Names of parameters: from those of transformers to those of the original checkpoints."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

__all__ = ["original_names"]

_RULES: tuple[tuple[str, str], ...] = (
    (r"^vision_encoder\.patch_embed\.projection\.", "image_encoder.patch_embed.proj."),
    (r"^vision_encoder\.layers\.(\d+)\.layer_norm", r"image_encoder.blocks.\1.norm"),
    (r"^vision_encoder\.layers\.", "image_encoder.blocks."),
    (r"^vision_encoder\.neck\.conv1\.", "image_encoder.neck.0."),
    (r"^vision_encoder\.neck\.layer_norm1\.", "image_encoder.neck.1."),
    (r"^vision_encoder\.neck\.conv2\.", "image_encoder.neck.2."),
    (r"^vision_encoder\.neck\.layer_norm2\.", "image_encoder.neck.3."),
    (r"^vision_encoder\.", "image_encoder."),
    (r"^shared_image_embedding\.positional_embedding$", "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"),
    (r"^prompt_encoder\.mask_embed\.conv1\.", "prompt_encoder.mask_downscaling.0."),
    (r"^prompt_encoder\.mask_embed\.layer_norm1\.", "prompt_encoder.mask_downscaling.1."),
    (r"^prompt_encoder\.mask_embed\.conv2\.", "prompt_encoder.mask_downscaling.3."),
    (r"^prompt_encoder\.mask_embed\.layer_norm2\.", "prompt_encoder.mask_downscaling.4."),
    (r"^prompt_encoder\.mask_embed\.conv3\.", "prompt_encoder.mask_downscaling.6."),
    (r"^prompt_encoder\.point_embed\.(\d+)\.", r"prompt_encoder.point_embeddings.\1."),
    (r"^mask_decoder\.transformer\.layers\.(\d+)\.layer_norm", r"mask_decoder.transformer.layers.\1.norm"),
    (r"^mask_decoder\.transformer\.layers\.(\d+)\.mlp\.proj_in\.", r"mask_decoder.transformer.layers.\1.mlp.lin1."),
    (r"^mask_decoder\.transformer\.layers\.(\d+)\.mlp\.proj_out\.", r"mask_decoder.transformer.layers.\1.mlp.lin2."),
    (r"^(mask_decoder\.transformer\..*)\.o_proj\.", r"\1.out_proj."),
    (r"^mask_decoder\.transformer\.layer_norm_final_attn\.", "mask_decoder.transformer.norm_final_attn."),
    (r"^mask_decoder\.upscale_conv1\.", "mask_decoder.output_upscaling.0."),
    (r"^mask_decoder\.upscale_layer_norm\.", "mask_decoder.output_upscaling.1."),
    (r"^mask_decoder\.upscale_conv2\.", "mask_decoder.output_upscaling.3."),
    (r"^mask_decoder\.hq_token\.", "mask_decoder.hf_token."),
    (r"^mask_decoder\.hq_mask_mlp\.", "mask_decoder.hf_mlp."),
    (r"^mask_decoder\.compress_vit_conv1\.", "mask_decoder.compress_vit_feat.0."),
    (r"^mask_decoder\.compress_vit_norm\.", "mask_decoder.compress_vit_feat.1."),
    (r"^mask_decoder\.compress_vit_conv2\.", "mask_decoder.compress_vit_feat.3."),
    (r"^mask_decoder\.encoder_conv1\.", "mask_decoder.embedding_encoder.0."),
    (r"^mask_decoder\.encoder_norm\.", "mask_decoder.embedding_encoder.1."),
    (r"^mask_decoder\.encoder_conv2\.", "mask_decoder.embedding_encoder.3."),
    (r"^mask_decoder\.mask_conv1\.", "mask_decoder.embedding_maskfeature.0."),
    (r"^mask_decoder\.mask_norm\.", "mask_decoder.embedding_maskfeature.1."),
    (r"^mask_decoder\.mask_conv2\.", "mask_decoder.embedding_maskfeature.3."),
)
_REPEATED = "prompt_encoder.shared_embedding.positional_embedding"


def original_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of a transformers SAM, SAM-HQ or SAM 2 model under the original names.

    Names without a rule stay as they are; strict loading then reports them.
    """
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        if name == _REPEATED and "shared_image_embedding.positional_embedding" in state:
            continue
        new = name
        for pattern, replacement in _RULES:
            new, hits = re.subn(pattern, replacement, name)
            if hits:
                break
        renamed[new] = value
    return _number_perceptrons(_split_point_table(renamed))


def _number_perceptrons(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """`proj_in`, `layers.j`, `proj_out` become `layers.0`, `layers.j + 1`, `layers.last`."""
    heads = {name.partition(".proj_in.")[0] for name in state if ".proj_in." in name}
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        head = next((h for h in heads if name.startswith(h + ".")), None)
        if head is None:
            renamed[name] = value
            continue
        inner = sum(n.startswith(f"{head}.layers.") and n.endswith(".weight") for n in state)
        rest = name[len(head) + 1 :]
        kind, _, leaf = rest.rpartition(".")
        index = {"proj_in": 0, "proj_out": inner + 1}.get(kind)
        renamed[f"{head}.layers.{int(kind.split('.')[1]) + 1 if index is None else index}.{leaf}"] = value
    return renamed


def _split_point_table(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """SAM 2 keeps the four point embeddings in one table."""
    table = state.pop("prompt_encoder.point_embed.weight", None)
    if table is not None:
        state |= {f"prompt_encoder.point_embeddings.{i}.weight": table[i : i + 1].clone() for i in range(len(table))}
    return state
