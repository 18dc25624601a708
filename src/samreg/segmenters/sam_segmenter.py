"""The `Segmenter` of a network of the SAM family: slices are scaled and padded, an engine computes the network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from samreg.errors import ConfigError
from samreg.segmenters.base import FEW_PIXELS, Encoding, Masks, Prompts
from samreg.segmenters.engines.base import Engine
from samreg.segmenters.pixels import model_pixels, model_square
from samreg.segmenters.sam.architecture import InputSpec
from samreg.segmenters.sam.prompt_encoder import PromptEncoder

__all__ = ["SamSegmenter"]

_LEAST_AT_ONCE = 4
"""Slices that are encoded in one call of the engine at least: one a core on common machines."""


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
        smaller: the same network for inputs of half the side, which takes slices of few pixels; None where the network
            has one side alone.
    """

    name: str
    fingerprint: str
    prompt_kind: Literal["boxes", "points"]
    supports_multimask: bool
    input_spec: InputSpec
    prompt_encoder: PromptEncoder
    network_engine: Engine
    whole_cells: int = 0
    smaller: SamSegmenter | None = None

    @property
    def engine(self) -> str:
        """Engine, precision and device, for example `openvino-bf16-cpu`."""
        return self.network_engine.name

    @property
    def input_size(self) -> int:
        """Side of the square model input in pixels."""
        return self.input_spec.size

    @property
    def slices_at_once(self) -> int:
        """Slices that are worth prompting together, with `prompt_slices`."""
        return self.network_engine.slices_at_once

    def side_for(self, shape: tuple[int, int]) -> int:
        """Side in pixels of the model input for a slice of this shape (y, x)."""
        small = self.smaller
        return self.input_size if small is None or max(shape) > FEW_PIXELS else small.input_size

    def encode(self, slices: Sequence[np.ndarray]) -> list[Encoding]:
        """Encode slices, a few at a time; see `Segmenter.encode`."""
        few = [self.side_for((len(pixels), pixels.shape[1])) < self.input_size for pixels in slices]
        if self.smaller is None or not any(few):
            return self._encode(slices)
        small = iter(self.smaller.encode([pixels for pixels, is_small in zip(slices, few, strict=True) if is_small]))
        rest = iter(self._encode([pixels for pixels, is_small in zip(slices, few, strict=True) if not is_small]))
        return [next(small if is_small else rest) for is_small in few]

    @torch.inference_mode()
    def _encode(self, slices: Sequence[np.ndarray]) -> list[Encoding]:
        spec, out = self.input_spec, []
        at_once = max(_LEAST_AT_ONCE, self.slices_at_once)
        for start in range(0, len(slices), at_once):
            chunk = slices[start : start + at_once]
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
        if self.smaller is not None and encoding.input_size < self.input_size:
            return self.smaller.prompt(encoding, prompts, multimask=multimask, coarse=coarse)
        sparse = self._tokens(encoding, prompts)
        given = None if prompts.mask_logits is None else torch.from_numpy(np.float32(prompts.mask_logits))
        return Masks(*self.network_engine.decode(_parts(encoding), sparse, given, multimask=multimask, coarse=coarse))

    @torch.inference_mode()
    def prompt_slices(
        self,
        encodings: Sequence[Encoding],
        prompts: Sequence[Prompts],
        *,
        multimask: bool = False,
        coarse: bool = False,
    ) -> list[Masks]:
        """Masks of points and boxes on several slices at once; otherwise as `prompt`.

        Args:
            encodings: of the slices.
            prompts: those of each, at least one; no mask logits.
            multimask: as for `prompt`.
            coarse: as for `prompt`.

        Raises:
            ConfigError: if a slice has no prompts.
        """
        if any(encoding.input_size < self.input_size for encoding in encodings):
            pairs = zip(encodings, prompts, strict=True)
            return [self.prompt(*pair, multimask=multimask, coarse=coarse) for pair in pairs]
        sparse = [self._tokens(*pair) for pair in zip(encodings, prompts, strict=True)]
        parts = [_parts(encoding) for encoding in encodings]
        answers = self.network_engine.decode_slices(parts, sparse, multimask=multimask, coarse=coarse)
        return [Masks(*answer) for answer in answers]

    def _tokens(self, encoding: Encoding, prompts: Prompts) -> torch.Tensor:
        n = len(prompts)
        if n == 0:
            raise ConfigError("there is nothing to prompt with: give points, boxes or mask logits")
        points = None if prompts.points is None else model_pixels(prompts.points, encoding)
        labels = None if prompts.point_labels is None else torch.from_numpy(np.asarray(prompts.point_labels))
        boxes = None
        if prompts.boxes is not None:
            boxes = model_pixels(np.reshape(prompts.boxes, (-1, 2, 2)), encoding).reshape(-1, 4)
        return self.prompt_encoder.sparse(n, points, labels, boxes)


def _parts(encoding: Encoding) -> tuple[torch.Tensor, ...]:
    return (encoding.features, *(encoding.extra or ()))
