"""The Segmenter that any network of the SAM family becomes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from samreg.errors import ConfigError
from samreg.segmenters.base import Encoding, Masks, Prompts
from samreg.segmenters.geometry import model_pixels, model_square
from samreg.segmenters.network import InputSpec, SamNetwork

__all__ = ["SamSegmenter"]

_SLICES_AT_ONCE = 4
_PROMPTS_AT_ONCE = 16


@dataclass(frozen=True, eq=False)
class SamSegmenter:
    """A network of the SAM family behind the `Segmenter` contract; fields beyond it are its parts."""

    name: str
    fingerprint: str
    engine: str
    input_size: int
    prompt_kind: Literal["boxes", "points"]
    supports_multimask: bool
    network: SamNetwork
    input_spec: InputSpec

    @torch.inference_mode()
    def encode(self, slices: Sequence[np.ndarray]) -> list[Encoding]:
        """Encode slices, `_SLICES_AT_ONCE` at a time; see `Segmenter.encode`."""
        out: list[Encoding] = []
        for start in range(0, len(slices), _SLICES_AT_ONCE):
            chunk = slices[start : start + _SLICES_AT_ONCE]
            features = self.network.image_encoder(torch.stack([self._input(pixels) for pixels in chunk]))
            out += [
                Encoding(f.clone(), (pixels.shape[0], pixels.shape[1]), self.input_size)
                for f, pixels in zip(features, chunk, strict=True)
            ]
        return out

    @torch.inference_mode()
    def prompt(self, encoding: Encoding, prompts: Prompts, *, multimask: bool = False, coarse: bool = False) -> Masks:
        """Masks of prompts, `_PROMPTS_AT_ONCE` at a time; see `Segmenter.prompt`."""
        if len(prompts) == 0:
            raise ConfigError("there is nothing to prompt with: give points, boxes or mask logits")
        parts = [
            self._prompt(encoding, prompts[i : i + _PROMPTS_AT_ONCE], multimask=multimask, coarse=coarse)
            for i in range(0, len(prompts), _PROMPTS_AT_ONCE)
        ]
        return Masks(torch.cat([p[0] for p in parts]).float(), torch.cat([p[1] for p in parts]).float())

    def _prompt(self, encoding: Encoding, prompts: Prompts, *, multimask: bool, coarse: bool) -> tuple[Tensor, Tensor]:
        net = self.network
        points = None if prompts.points is None else model_pixels(prompts.points, encoding)
        labels = None if prompts.point_labels is None else torch.from_numpy(np.asarray(prompts.point_labels))
        boxes = None
        if prompts.boxes is not None:
            boxes = model_pixels(np.reshape(prompts.boxes, (-1, 2, 2)), encoding).reshape(-1, 4)
        sparse = net.prompt_encoder.sparse(len(prompts), points, labels, boxes)
        given = prompts.mask_logits
        cells = net.cells(encoding.features, None if given is None else torch.from_numpy(np.float32(given)))
        masks = (1, net.mask_decoder.n_masks) if multimask else (0, 1)
        logits, quality = net.mask_decoder(sparse, net.position, cells, masks, coarse)
        return logits, quality

    def _input(self, pixels: np.ndarray) -> Tensor:
        spec = self.input_spec
        return model_square(pixels, spec.size, spec.mean, spec.std)
