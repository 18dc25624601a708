"""The rough fit: two people are brought near each other by their images alone, before any pair is known."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from samreg.config import FitConfig, RegisterConfig
from samreg.fit.objective import Objective
from samreg.fit.problem import DenseProblem, working_shape
from samreg.fit.solvers.elastic import elastic_weights, minimise_elastic
from samreg.geometry.ops.displacement import rescale
from samreg.geometry.rois import PairedRois
from samreg.initial.problem import ImagePair
from samreg.initial.start import Start

__all__ = ["bring_near", "rough_fit"]


def bring_near(images: ImagePair, start: Start, config: RegisterConfig) -> Tensor:
    """The rough fit of two images from a start, on the voxels of its displacement, array order."""
    nothing = PairedRois.none(images.fixed_grid, images.moving_grid)
    return rough_fit(DenseProblem.of(images, nothing, start, config.fit), config.fit)


def rough_fit(problem: DenseProblem, config: FitConfig) -> Tensor:
    """One elastic level at half the working size.

    Args:
        problem: images and start; its pairs are not looked at.
        config: working size, and the elastic levels' weights.

    Returns:
        (d, *problem.start.shape[1:]) displacement over the fixed image, in its own voxels, array order.
    """
    shape = working_shape(problem, config.work_size // 2)
    settings = config.elastic
    u, _ = minimise_elastic(
        Objective(problem, replace(elastic_weights(settings, config.stiffness), regions=0.0), shape),
        rescale(problem.start, shape),
        lambda _: None,
        control=settings.control[0],
        most=settings.max_iterations,
        velocity=config.transform == "svf",
    )
    return rescale(u, problem.start.shape[1:])
