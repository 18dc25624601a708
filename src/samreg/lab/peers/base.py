"""Method: (fixed, moving) -> a displacement field on the fixed grid, with seconds and settings."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from typing import Any, TypeAlias

import numpy as np

from samreg.errors import MissingDependencyError, RegistrationError
from samreg.geometry.field import DisplacementField
from samreg.geometry.image import Image
from samreg.geometry.rois import PairedRois
from samreg.runs.threads import limit_threads

__all__ = ["Method", "MethodOutput", "Solved", "Solver"]

Solver: TypeAlias = "Callable[..., DisplacementField | tuple[DisplacementField, dict[str, Any]] | Solved]"
"""`solve(fixed, moving, *, intra_subject, threads)` returns the field, the field and further numbers, or a `Solved`."""


@dataclass(frozen=True, eq=False)
class Solved:
    """What a method that pairs regions returns.

    Args:
        field: the whole transform on the fixed grid.
        extra: further numbers.
        pairs: the pairs of regions.
        slice_axis: array axis of the stack of thick slices that both images share; None where they share none.
    """

    field: DisplacementField
    extra: Mapping[str, Any]
    pairs: PairedRois | None = None
    slice_axis: int | None = None


@dataclass(frozen=True, eq=False)
class MethodOutput:
    """What one method made of one pair.

    Args:
        field: the whole transform on the fixed grid.
        seconds: wall time of the registration, without reading the images and without the evaluation.
        settings: what was set, for the report.
        extra: further numbers of the method, for example samreg's confidence and number of pairs.
        pairs: the pairs of regions of a method that has some.
        slice_axis: array axis of the stack of thick slices that both images share; None where they share none.
    """

    field: DisplacementField
    seconds: float
    settings: Mapping[str, Any]
    extra: Mapping[str, Any] = dataclass_field(default_factory=dict)
    pairs: PairedRois | None = None
    slice_axis: int | None = None


@dataclass(frozen=True)
class Method:
    """A registration method.

    Args:
        name: what the user types and the tables show.
        solve: the registration itself; see `Solver`.
        settings: every setting that differs from the tool's own default, for the report.
        package: distribution that must be installed, or empty.
        module: module that exists if and only if the package is installed.
        install: command that installs it.
        slices_only: works slice by slice, so it is for stacks of thick slices that correspond.
        dimensions: dimensions of the images it registers.
        prepare: what is done once a process and not timed, for example reading weights.
    """

    name: str
    solve: Solver
    settings: Mapping[str, Any]
    package: str = ""
    module: str = ""
    install: str = ""
    slices_only: bool = False
    dimensions: tuple[int, ...] = (3,)
    prepare: Callable[[], object] | None = None

    @property
    def is_installed(self) -> bool:
        """Whether the package it needs can be imported; nothing is imported to find out."""
        return not self.module or importlib.util.find_spec(self.module) is not None

    def why_not(self, fixed: Image, *, intra_subject: bool) -> str:
        """Why the method does not apply to a pair; empty if it does."""
        if fixed.grid.ndim not in self.dimensions:
            return f"{self.name} registers {'/'.join(f'{d}D' for d in self.dimensions)} images only"
        if self.slices_only and not (intra_subject and fixed.grid.is_thick_stack()):
            return f"{self.name} is for stacks of thick slices of one subject, whose slices correspond"
        return ""

    def run(self, fixed: Image, moving: Image, *, intra_subject: bool = False, threads: int = 2) -> MethodOutput:
        """Register one pair.

        Args:
            fixed: the image whose grid the result has.
            moving: the image to be resampled.
            intra_subject: whether both show the same subject, so that no affine is needed first.
            threads: at most so many.

        Raises:
            MissingDependencyError: if the tool is not installed.
            RegistrationError: if the tool fails or returns displacements that are not finite.
        """
        if not self.is_installed:
            error = MissingDependencyError(self.package, f"the method {self.name}")
            error.args = (f"{self.package} is not installed and the method {self.name} needs it: {self.install}",)
            raise error
        if self.prepare is not None:
            self.prepare()
        start = time.perf_counter()
        with limit_threads(threads):
            answer = self.solve(fixed, moving, intra_subject=intra_subject, threads=threads)
        seconds = time.perf_counter() - start
        if not isinstance(answer, Solved):
            answer = Solved(*answer) if isinstance(answer, tuple) else Solved(answer, {})
        if not np.isfinite(answer.field.u).all():
            raise RegistrationError(f"{self.name} returned displacements that are not finite for {fixed.name}")
        settings = {**self.settings, "threads": threads}
        return MethodOutput(answer.field, seconds, settings, answer.extra, answer.pairs, answer.slice_axis)
