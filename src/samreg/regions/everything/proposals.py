"""The masks of one slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Proposals"]


@dataclass(frozen=True, eq=False)
class Proposals:
    """The masks of one slice, best first.

    Args:
        masks: (n, y, x) booleans in slice pixels.
        quality: (n,) predicted IoU.
        n_prompts: prompts that were asked.
    """

    masks: np.ndarray
    quality: np.ndarray
    n_prompts: int
