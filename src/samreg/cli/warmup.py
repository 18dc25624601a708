"""`samreg warmup`."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from samreg.cli.common import show
from samreg.cli.output import report
from samreg.config import SegmentConfig

if TYPE_CHECKING:
    from samreg.segmenters.base import Segmenter

__all__ = ["Warmup", "warm"]


@dataclass(frozen=True)
class Warmup:
    """Compile the networks for this computer now, so that the first registration does not have to.

    The result is kept in the cache folder; a second call finds it there and takes a second.
    """

    segmenter: str = "litemedsam"
    """litemedsam, a Hugging Face id, a model folder or a .pth checkpoint."""
    engine: Literal["auto", "torch", "openvino"] = "auto"
    """What computes; auto takes OpenVINO on a CPU where it is installed, torch elsewhere."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:N or mps."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Arithmetic of the network; auto takes what the device is good at."""

    def run(self) -> None:
        """Segment a blank slice with all that everything mode asks for."""
        from samreg.segmenters.registry import open_segmenter

        started = time.monotonic()
        settings = SegmentConfig(self.segmenter, self.engine, self.device, self.precision)
        segmenter = open_segmenter(
            settings.segmenter, engine=settings.engine, device=settings.device, precision=settings.precision
        )
        warm(segmenter)
        report(engine=segmenter.engine)
        show(f"{segmenter.name} is ready on {segmenter.engine} ({time.monotonic() - started:.1f} s)")


def warm(segmenter: Segmenter) -> None:
    """Ask once for everything that a registration asks for: slices of many and of few pixels, alone and together,
    boxes, coarse and full masks.
    """
    import numpy as np

    from samreg.segmenters.base import Prompts, side_for

    sides = {side_for(segmenter, (pixels, pixels)): pixels for pixels in (16, 256)}  # one of each input that it has
    for side in reversed(sides.values()):
        blank = np.zeros((side, side), dtype=np.float32)
        segmenter.encode([blank])
        encoding, _ = segmenter.encode([blank, blank])
        if segmenter.prompt_kind == "points":
            points = Prompts(points=np.full((1, 1, 2), 8.0))
            segmenter.prompt(encoding, points, multimask=segmenter.supports_multimask, coarse=True)
        for coarse in (True, False):
            segmenter.prompt(encoding, Prompts(boxes=np.asarray([[2.0, 2.0, 13.0, 13.0]])), coarse=coarse)
