"""What a prompt came to."""

from __future__ import annotations

import dataclasses

from samreg.config import RegisterConfig
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois, RoiSet
from samreg.result import Origin, PromptRecord, RegistrationResult

__all__ = ["PromptAnswer"]


@dataclasses.dataclass(frozen=True, eq=False)
class PromptAnswer:
    """One region of the fixed image and its counterpart.

    Args:
        fixed: the fixed image.
        moving: the moving image.
        region: the region of the prompt, one ROI on the fixed grid.
        pairs: the pair, or no pair where there is no counterpart.
        candidate: the best candidate on its main slice, one ROI on the moving grid even where it was refused; or none.
        similarity: cosine similarity of the two prototypes, of the best candidate even where it was refused.
        cycle: IoU of the region with what its counterpart leads back to, in [0, 1].
        confidence: geometric mean of similarity, cycle and both predicted IoUs, in [0, 1]; 0 without counterpart.
        reason: why there is no counterpart; empty where there is one.
        config: the settings.
        origin: what segmented.
        record: where the prompt was answered.
        seconds: wall time of each stage.
    """

    fixed: Image
    moving: Image
    region: RoiSet
    pairs: PairedRois
    candidate: RoiSet
    similarity: float
    cycle: float
    confidence: float
    reason: str
    config: RegisterConfig
    origin: Origin
    record: PromptRecord
    seconds: dict[str, float]

    @property
    def found(self) -> bool:
        """Whether there is a counterpart."""
        return len(self.pairs) > 0

    def result(self) -> RegistrationResult:
        """The same as a registration without a transform: what a run folder is written from."""
        fit = dataclasses.replace(self.config.fit, transform="none")
        return RegistrationResult(
            fixed=self.fixed,
            moving=self.moving,
            pairs=self.pairs,
            affine=None,
            field=None,
            config=dataclasses.replace(self.config, fit=fit),
            confidence=self.confidence,
            origins=(self.origin, self.origin),
            prompt=self.record,
            seconds=self.seconds,
            notes=(f"no counterpart: {self.reason}",) if self.reason else (),
        )
