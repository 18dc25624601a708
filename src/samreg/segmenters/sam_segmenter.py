"""The `Segmenter` of a network of the SAM family: slices are scaled and padded, an engine computes the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from samreg.errors import ConfigError
from samreg.segmenters.base import Encoding, Masks, Prompts
from samreg.segmenters.engines.base import Engine
from samreg.segmenters.pixels import model_pixels, model_square
from samreg.segmenters.sam.architecture import InputSpec
from samreg.segmenters.sam.prompt_encoder import PromptEncoder

__all__ = ["SamSegmenter"]

_SLICES_AT_ONCE = 4


@dataclass(frozen=True, eq=False)
class SamSegmenter:
    """A network of the SAM family as a `Segmenter`.

    Args:
        name: the name the user gave.
        fingerprint: sha256 of the weights.
        prompt_kind: prompts with which everything mode works best.
        supports_multimask: whether it was trained to give three masks a prompt.
        input_spec: the input that the encoder expects.
        prompt_encoder: prompts to tokens, float32 on the CPU.
        network_engine: computes encoder and decoder.
        whole_cells: side of the embedding in cells where the decoder needs nothing else, so that a slice whose cells
            were kept can be asked again; 0 where it does.
    """

    name: str
    fingerprint: str
    prompt_kind: Literal["boxes", "points"]
    supports_multimask: bool
    input_spec: InputSpec
    prompt_encoder: PromptEncoder
    network_engine: Engine
    whole_cells: int = 0

    @property
    def engine(self) -> str:
        """Engine, precision and device, for example `openvino-bf16-cpu`."""
        return self.network_engine.name

    @property
    def input_size(self) -> int:
        """Side of the square model input in pixels."""
        return self.input_spec.size

    @torch.inference_mode()
    def encode(self, slices: Sequence[np.ndarray]) -> list[Encoding]:
        """Encode slices, a few at a time; see `Segmenter.encode`."""
        spec, out = self.input_spec, []
        for start in range(0, len(slices), _SLICES_AT_ONCE):
            chunk = slices[start : start + _SLICES_AT_ONCE]
            images = torch.stack([model_square(pixels, spec.size, spec.mean, spec.std) for pixels in chunk])
            parts = self.network_engine.encode(images)
            for i, pixels in enumerate(chunk):
                # Copies, so that one kept encoding does not keep the memory of its neighbours.
                first, *rest = (part[i].clone() for part in parts)
                out.append(Encoding(first, (pixels.shape[0], pixels.shape[1]), spec.size, tuple(rest)))
        return out

    @torch.inference_mode()
    def prompt(self, encoding: Encoding, prompts: Prompts, *, multimask: bool = False, coarse: bool = False) -> Masks:
        """Masks of prompts; see `Segmenter.prompt`.

        Raises:
            ConfigError: if there are no prompts.
        """
        n = len(prompts)
        if n == 0:
            raise ConfigError("there is nothing to prompt with: give points, boxes or mask logits")
        points = None if prompts.points is None else model_pixels(prompts.points, encoding)
        labels = None if prompts.point_labels is None else torch.from_numpy(np.asarray(prompts.point_labels))
        boxes = None
        if prompts.boxes is not None:
            boxes = model_pixels(np.reshape(prompts.boxes, (-1, 2, 2)), encoding).reshape(-1, 4)
        given = None if prompts.mask_logits is None else torch.from_numpy(np.float32(prompts.mask_logits))
        sparse = self.prompt_encoder.sparse(n, points, labels, boxes)
        embedding = (encoding.features, *(encoding.extra or ()))
        return Masks(*self.network_engine.decode(embedding, sparse, given, multimask=multimask, coarse=coarse))
