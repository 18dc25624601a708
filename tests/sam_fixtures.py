"""Small models of the SAM family with random weights, written to disk in the real formats.

Small, yet nothing degenerate: several windows with padding, two global blocks, more cells than one tile of the decoder.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch
from torch import nn

SIZE = 384
GRID = 24
MASK = 4 * GRID


def randomise(module: nn.Module, seed: int, gain: float = 1.0) -> nn.Module:
    """Weights that make every term of the network count: no zeros, no ones, no symmetric starts."""
    generator = torch.Generator().manual_seed(seed)

    def draw(shape: torch.Size) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    with torch.no_grad():
        for name, value in [*module.named_parameters(), *module.named_buffers()]:
            if not value.is_floating_point() or name.endswith(("pixel_mean", "pixel_std")):
                continue
            if "running_var" in name:
                value.copy_(0.5 + draw(value.shape).abs())
            elif name.endswith("norm.weight") or ("norm" in name and name.endswith("weight") and value.ndim == 1):
                value.copy_(1 + 0.3 * draw(value.shape))
            elif value.ndim <= 1:
                value.copy_(0.2 * draw(value.shape))
            elif "positional" in name:
                # Low frequencies: the reference itself loses digits in sines of large angles.
                value.copy_(0.25 * draw(value.shape))
            elif any(part in name for part in ("_token.", "_tokens.", "point_embed", "no_mask", "not_a_point")):
                value.copy_(draw(value.shape))
            else:
                value.copy_(gain * draw(value.shape) / (value[0].numel() ** 0.5))
    return module.eval()


def segment_anything_model(seed: int = 0) -> nn.Module:
    """A small `segment_anything.modeling.Sam`."""
    from segment_anything.modeling import ImageEncoderViT, MaskDecoder, PromptEncoder, Sam, TwoWayTransformer

    channels = 64
    model = Sam(
        image_encoder=ImageEncoderViT(
            depth=4,
            embed_dim=48,
            img_size=SIZE,
            mlp_ratio=3,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_heads=4,
            patch_size=16,
            qkv_bias=True,
            use_rel_pos=True,
            global_attn_indexes=(1, 3),
            window_size=7,
            out_chans=channels,
        ),
        prompt_encoder=PromptEncoder(
            embed_dim=channels, image_embedding_size=(GRID, GRID), input_image_size=(SIZE, SIZE), mask_in_chans=8
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(depth=2, embedding_dim=channels, mlp_dim=96, num_heads=8),
            transformer_dim=channels,
            iou_head_depth=3,
            iou_head_hidden_dim=40,
        ),
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
    )
    return randomise(model, seed)


def write_sam_checkpoint(path: Path, seed: int = 0) -> nn.Module:
    """A `.pth` with the original key names; returns the reference that wrote it."""
    model = segment_anything_model(seed)
    torch.save(model.state_dict(), path)
    return model


def _tie(model: nn.Module) -> None:
    """One positional encoding under two names, as in the published models."""
    source = model.shared_image_embedding.positional_embedding
    model.prompt_encoder.shared_embedding.positional_embedding.data.copy_(source.data)


def _sam_parts() -> dict[str, dict[str, object]]:
    return {
        "vision_config": {
            "hidden_size": 48,
            "output_channels": 64,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "image_size": SIZE,
            "patch_size": 16,
            "window_size": 7,
            "global_attn_indexes": [1, 3],
            "mlp_dim": 144,
            "num_pos_feats": 32,
        },
        "prompt_encoder_config": {
            "hidden_size": 64,
            "image_size": SIZE,
            "patch_size": 16,
            "mask_input_channels": 8,
        },
        "mask_decoder_config": {
            "hidden_size": 64,
            "mlp_dim": 96,
            "num_attention_heads": 4,
            "iou_head_hidden_dim": 40,
        },
    }


def write_hf_sam(folder: Path, seed: int = 0) -> nn.Module:
    """A transformers SAM folder: config, safetensors and processor."""
    from transformers import SamConfig, SamImageProcessor, SamModel, SamProcessor

    model = randomise(SamModel(SamConfig(**_sam_parts())), seed)
    _tie(model)
    model.save_pretrained(folder)
    SamProcessor(SamImageProcessor(size={"longest_edge": SIZE})).save_pretrained(folder)
    return model


def write_hf_sam_hq(folder: Path, seed: int = 0) -> nn.Module:
    """A transformers SAM-HQ folder."""
    from transformers import SamHQConfig, SamHQModel

    parts = _sam_parts()
    parts["mask_decoder_config"]["vit_dim"] = 48
    model = randomise(SamHQModel(SamHQConfig(**parts)), seed, gain=0.7)
    _tie(model)
    model.save_pretrained(folder)
    return model


def write_hf_sam2(folder: Path, seed: int = 0) -> nn.Module:
    """A transformers SAM 2 folder."""
    from transformers import Sam2Config, Sam2Model

    size = 256
    sides = [[size // 4] * 2, [size // 8] * 2, [size // 16] * 2]
    config = Sam2Config(
        vision_config={
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 12,
                "num_attention_heads": 1,
                "image_size": [size, size],
                "blocks_per_stage": [1, 2, 2, 1],
                "embed_dim_per_stage": [12, 24, 48, 96],
                "num_attention_heads_per_stage": [1, 2, 4, 8],
                "window_size_per_stage": [8, 4, 14, 7],
                "global_attention_blocks": [4],
                "window_positional_embedding_background_size": [7, 7],
            },
            "backbone_channel_list": [96, 48, 24, 12],
            "backbone_feature_sizes": sides,
            "fpn_hidden_size": 64,
        },
        prompt_encoder_config={"hidden_size": 64, "image_size": size, "patch_size": 16, "mask_input_channels": 8},
        mask_decoder_config={
            "hidden_size": 64,
            "mlp_dim": 96,
            "num_attention_heads": 4,
            "iou_head_hidden_dim": 40,
        },
    )
    model = randomise(Sam2Model(config), seed)
    _tie(model)
    model.save_pretrained(folder)
    return model
