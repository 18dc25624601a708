"""A promptable network in torch: image encoder, prompt encoder and mask decoder in one module."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from samreg.segmenters.sam.decoder import MaskDecoder
from samreg.segmenters.sam.hq_decoder import HqMaskDecoder
from samreg.segmenters.sam.prompt_encoder import PromptEncoder
from samreg.segmenters.sam.tinyvit import TinyViT
from samreg.segmenters.sam.transformer import DecoderSpec, SharedCells

__all__ = ["SamNetwork"]


class SamNetwork(nn.Module):
    """The three parts, under the names they have in the checkpoints.

    Args:
        image_encoder: (b, 3, s, s) to (b, c, grid, grid).
        spec: shape of the mask decoder.
        size: side of the square input in pixels.
        mask_channels: hidden channels for mask prompts.
        decoder: the mask decoder of another member of the family; SAM's by default.
        always_pad: prompts are padded as in SAM 2.
    """

    position: Tensor

    def __init__(
        self,
        image_encoder: nn.Module,
        spec: DecoderSpec,
        size: int,
        mask_channels: int,
        *,
        decoder: MaskDecoder | None = None,
        always_pad: bool = False,
    ) -> None:
        super().__init__()
        self.image_encoder = image_encoder
        self.prompt_encoder = PromptEncoder(spec.channels, spec.grid, size, mask_channels, always_pad=always_pad)
        self.mask_decoder = MaskDecoder(spec) if decoder is None else decoder

    @property
    def embedding_alone(self) -> bool:
        """Whether the decoder needs nothing of the image but its embedding."""
        return type(self) is SamNetwork and type(self.mask_decoder) is MaskDecoder

    def set_weights(self, state: Mapping[str, Tensor]) -> None:
        """Load the weights, strictly, and prepare for inference; the module may have been built on `meta`.

        Raises:
            RuntimeError: if names or shapes differ, as `load_state_dict` words it.
        """
        self.load_state_dict(state, strict=True, assign=True)
        self.requires_grad_(requires_grad=False)
        self.eval()
        with torch.no_grad():
            if isinstance(self.image_encoder, TinyViT):
                self.image_encoder.fuse()
            self.register_buffer("position", self.prompt_encoder.position(), persistent=False)

    def resized(self, side: int) -> SamNetwork | None:
        """The same weights for inputs of another side; None where the encoder knows positions of one side alone.

        The cells keep their size in input pixels, so that there are fewer of them. Attention within windows does not
        see the difference, and the positions that the decoder adds are shares of the side.

        Args:
            side: pixels, a multiple of those of a cell.
        """
        if not (self.embedding_alone and isinstance(self.image_encoder, TinyViT)):
            return None
        network = copy.deepcopy(self)
        prompts, decoder = network.prompt_encoder, network.mask_decoder
        grid = prompts.grid * side // prompts.input_size
        prompts.grid, prompts.input_size = grid, side
        decoder.spec = replace(decoder.spec, grid=grid)
        network.register_buffer("position", prompts.position(), persistent=False)
        return network

    def encode(self, images: Tensor) -> tuple[Tensor, ...]:
        """Embedding (b, c, grid, grid) of (b, 3, s, s) normalised images, then those of higher resolution, if any."""
        encoded = self.image_encoder(images)
        features, *early = encoded if isinstance(encoded, tuple) else (encoded,)
        if isinstance(self.mask_decoder, HqMaskDecoder):
            return features, self.mask_decoder.high_res_features(features, early[0])
        return (features,)

    def share(self, embedding: tuple[Tensor, ...], mask_logits: Tensor | None = None) -> SharedCells:
        """What prompts on one image share, once for all of them; with mask prompts, for each.

        Args:
            embedding: the parts that `encode` returned for the image, without the batch axis; or with it, for several
                images and as many prompts on each.
            mask_logits: (n, 4 grid, 4 grid), or None.
        """
        if mask_logits is None:
            dense = self.prompt_encoder.no_mask_embed.weight[:, None]
        else:
            dense = self.prompt_encoder.dense(mask_logits)
        return self.mask_decoder.share(self.position, embedding[0].flatten(-2).transpose(-2, -1) + dense)

    def decode(
        self, shared: SharedCells, high_res: tuple[Tensor, ...], sparse: Tensor, *, multimask: bool, coarse: bool
    ) -> tuple[Tensor, Tensor]:
        """Logits and quality of n prompts on one image.

        Args:
            shared: of the image, or of the n prompts.
            high_res: what `encode` returned beside the embedding, without the batch axis.
            sparse: (n, t, c) prompt tokens.
            multimask: three masks a prompt instead of one.
            coarse: every fourth pixel only.
        """
        return self.mask_decoder(sparse, self.position, shared, high_res, multimask=multimask, coarse=coarse)  # type: ignore[no-any-return]
