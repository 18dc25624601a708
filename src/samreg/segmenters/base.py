"""The protocol of promptable segmenters: encode an image once, then answer prompts; no state in between."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FEW_PIXELS", "Encoding", "Masks", "Prompts", "Segmenter", "prompt_slices", "side_for", "slices_at_once"]

FEW_PIXELS = 64
"""Longer side of the slices that go through the smaller input of a network that has one: its cells show two pixels."""


@dataclass(frozen=True, eq=False)
class Encoding:
    """One encoded 2D slice.

    The model's input is the slice scaled by `scale` (its longer side fills `input_size`) and padded at the bottom and
    right to a square. Everything outside the segmenter is in slice pixels, (x, y), 0 at the centre of the first pixel;
    the segmenter converts.

    Args:
        features: (c, h, w) image embedding of the whole padded square.
        shape: (y, x) of the slice.
        input_size: side of the square model input, in pixels.
        extra: what else the segmenter's own decoder needs, for example features of higher resolution.
    """

    features: Tensor
    shape: tuple[int, int]
    input_size: int
    extra: Any = None

    @property
    def scale(self) -> float:
        """Model input pixels a slice pixel."""
        return self.input_size / max(self.shape)

    @property
    def stride(self) -> float:
        """Slice pixels a cell of `features`."""
        return self.input_size / self.features.shape[-1] / self.scale

    @property
    def valid(self) -> tuple[int, int]:
        """(h, w) cells of `features` that cover the slice, not the padding."""
        h, w = (max(1, int(np.ceil(n / self.stride - 1e-6))) for n in self.shape)
        return min(h, self.features.shape[-2]), min(w, self.features.shape[-1])

    @property
    def valid_features(self) -> Tensor:
        """(c, h, w) cells of `features` that cover the slice."""
        h, w = self.valid
        return self.features[:, :h, :w]


@dataclass(frozen=True, eq=False)
class Prompts:
    """n prompts of one slice, in slice pixels (x, y); any of the three kinds, combined as SAM does.

    Args:
        points: (n, m, 2) points, or None.
        point_labels: (n, m) 1 foreground, 0 background, -1 padding; all foreground by default.
        boxes: (n, 4) x0, y0, x1, y1, or None.
        mask_logits: (n, h, w) low-resolution logits of the padded model input (SAM: 256 x 256), or None.
    """

    points: np.ndarray | None = None
    point_labels: np.ndarray | None = None
    boxes: np.ndarray | None = None
    mask_logits: np.ndarray | None = None

    def __len__(self) -> int:
        for part in (self.points, self.boxes, self.mask_logits):
            if part is not None:
                return len(part)
        return 0

    def __getitem__(self, rows: slice | np.ndarray) -> Prompts:
        parts = (self.points, self.point_labels, self.boxes, self.mask_logits)
        return Prompts(*(None if part is None else part[rows] for part in parts))


@dataclass(frozen=True, eq=False)
class Masks:
    """Answers to n prompts, m masks each (1, or 3 with `multimask`).

    Args:
        logits: (n, m, h, w) float32 over the padded square model input: at full decoder resolution
            (SAM: 256 x 256), or, with `coarse`, exactly every fourth pixel of it, starting at the first (64 x 64).
        quality: (n, m) predicted IoU.
    """

    logits: Tensor
    quality: Tensor


@runtime_checkable
class Segmenter(Protocol):
    """The contract that every promptable segmenter keeps.

    - `encode` and `prompt` are functions of their arguments alone: the same call gives the same answer, in
      any order, from any thread.
    - Images come in as float32 slices in [0, 1], `(y, x)` or `(y, x, 3)`; the segmenter scales, pads and normalises.
    - Tensors that come out are on whatever device the segmenter computes on.
    - Prompts are in slice pixels. Logits are positive inside; `masks_to_slice` (segmenters.pixels) maps
      them to slice pixels.
    """

    @property
    def name(self) -> str:
        """The name the user gave, for example `litemedsam`."""
        ...

    @property
    def fingerprint(self) -> str:
        """sha256 of the weights; part of the keys of caches."""
        ...

    @property
    def engine(self) -> str:
        """Engine, precision and device, for example `openvino-bf16-cpu`."""
        ...

    @property
    def input_size(self) -> int:
        """Side of the square model input in pixels."""
        ...

    @property
    def prompt_kind(self) -> Literal["boxes", "points"]:
        """The prompts with which everything mode works best."""
        ...

    @property
    def supports_multimask(self) -> bool:
        """Whether `multimask=True` gives three meaningful masks a prompt."""
        ...

    def encode(self, slices: Sequence[np.ndarray]) -> list[Encoding]:
        """Encode slices, in batches.

        Args:
            slices: float32 in [0, 1], each `(y, x)` or `(y, x, 3)`.

        Returns:
            One `Encoding` a slice, in order.
        """
        ...

    def prompt(self, encoding: Encoding, prompts: Prompts, *, multimask: bool = False, coarse: bool = False) -> Masks:
        """Masks of n prompts on one encoded slice.

        Args:
            encoding: what `encode` returned for the slice.
            prompts: n prompts.
            multimask: three masks a prompt instead of one.
            coarse: logits at every fourth pixel only, exactly those values, for a fraction of the work.
        """
        ...


def side_for(segmenter: Segmenter, shape: tuple[int, int]) -> int:
    """Side in pixels of the model input for a slice (y, x); the one side of a segmenter that does not say."""
    told = getattr(segmenter, "side_for", None)
    return segmenter.input_size if told is None else int(told(shape))


def slices_at_once(segmenter: Segmenter) -> int:
    """Slices that are worth prompting together; 1 for a segmenter that does not say."""
    return int(getattr(segmenter, "slices_at_once", 1))


def prompt_slices(
    segmenter: Segmenter,
    encodings: Sequence[Encoding],
    prompts: Sequence[Prompts],
    *,
    multimask: bool = False,
    coarse: bool = False,
) -> list[Masks]:
    """What `Segmenter.prompt` answers on each of several slices: together where the segmenter can, else one by one.

    Args:
        segmenter: answers; one with a method `prompt_slices` takes them all at once.
        encodings: of the slices.
        prompts: points and boxes of each, at least one.
        multimask: as for `Segmenter.prompt`.
        coarse: as for `Segmenter.prompt`.
    """
    together = getattr(segmenter, "prompt_slices", None)
    if len(encodings) > 1 and together is not None:
        answers: list[Masks] = together(encodings, prompts, multimask=multimask, coarse=coarse)
        return answers
    pairs = zip(encodings, prompts, strict=True)
    return [segmenter.prompt(encoding, asked, multimask=multimask, coarse=coarse) for encoding, asked in pairs]
