"""elastix: B-spline registration, Klein et al., IEEE TMI 2010; in 3D, and slice by slice in 2D."""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np

from samreg.errors import install_command
from samreg.geometry.field import DisplacementField
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.lab.peers.base import Method
from samreg.lab.peers.itk_bridge import quiet, register_slices

__all__ = ["ELASTIX", "ELASTIX_2D"]

_INSTALL = install_command("peers", "itk-elastix")
_GRID_MM = 8.0
_COARSE_GRID_MM = 16.0
"""Between subjects, where a finer grid tears what an affine has not brought together (docs/evaluation.md)."""
_LEVELS = 4


def _to_itk(image: Image) -> Any:
    import itk

    out = itk.image_from_array(np.ascontiguousarray(image.grey(), dtype=np.float32))
    out.SetSpacing(list(image.grid.spacing))
    out.SetOrigin(list(image.grid.origin))
    out.SetDirection(np.asarray(image.grid.direction, dtype=float))
    return out


def _common(grid: Grid, n_iterations: int) -> dict[str, list[str]]:
    # A level halves the in-plane resolution; an axis that is coarse already is left alone until the others catch up.
    schedule = []
    for level in reversed(range(_LEVELS)):
        target = min(grid.spacing) * 2**level
        schedule += [str(max(1, round(target / s))) for s in grid.spacing]
    return {
        "FixedInternalImagePixelType": ["float"],
        "MovingInternalImagePixelType": ["float"],
        "FixedImagePyramid": ["FixedSmoothingImagePyramid"],
        "MovingImagePyramid": ["MovingSmoothingImagePyramid"],
        "NumberOfResolutions": [str(_LEVELS)],
        "ImagePyramidSchedule": schedule,
        "ImageSampler": ["RandomCoordinate"],
        "NewSamplesEveryIteration": ["true"],
        "NumberOfSpatialSamples": ["2048"],
        "Interpolator": ["LinearInterpolator"],
        "BSplineInterpolationOrder": ["1"],
        "FinalBSplineInterpolationOrder": ["1"],
        "ResampleInterpolator": ["FinalLinearInterpolator"],
        "Resampler": ["DefaultResampler"],
        "Optimizer": ["AdaptiveStochasticGradientDescent"],
        "MaximumNumberOfIterations": [str(n_iterations)],
        "AutomaticParameterEstimation": ["true"],
        "HowToCombineTransforms": ["Compose"],
        "UseDirectionCosines": ["true"],
        "RandomSeed": ["121212"],
        # itk-elastix 0.25 crashes when two threads share a metric that is combined with a bending energy.
        "UseMultiThreadingForMetrics": ["false"],
        "WriteResultImage": ["false"],
        "CheckNumberOfSamples": ["true"],
        "MaximumNumberOfSamplingAttempts": ["8"],
        "DefaultPixelValue": ["0"],
        "ErodeMask": ["false"],
    }


def _affine(grid: Grid) -> dict[str, list[str]]:
    return {
        **_common(grid, 300),
        "Registration": ["MultiResolutionRegistration"],
        "Metric": ["AdvancedNormalizedCorrelation"],
        "Transform": ["AffineTransform"],
        "AutomaticTransformInitialization": ["true"],
        "AutomaticTransformInitializationMethod": ["GeometricalCenter"],
        "AutomaticScalesEstimation": ["true"],
    }


def _bspline(grid: Grid, spacing: float, bending: float, n_iterations: int) -> dict[str, list[str]]:
    return {
        **_common(grid, n_iterations),
        "Registration": ["MultiMetricMultiResolutionRegistration"],
        "Metric": ["AdvancedNormalizedCorrelation", "TransformBendingEnergyPenalty"],
        "Metric0Weight": ["1.0"],
        "Metric1Weight": [f"{bending:g}"],
        "Transform": ["BSplineTransform"],
        # Control points closer than the slices along a thick axis would have no data of their own.
        "FinalGridSpacingInPhysicalUnits": [f"{max(spacing, s):g}" for s in grid.spacing],
        "GridSpacingSchedule": [str(2.0**level) for level in reversed(range(_LEVELS))],
    }


def _register(fixed: Image, moving: Image, maps: list[dict[str, list[str]]], threads: int) -> np.ndarray:
    import itk

    parameters = itk.ParameterObject.New()
    for one in maps:
        parameters.AddParameterMap({key: tuple(value) for key, value in one.items()})
    a, b = _to_itk(fixed), _to_itk(moving)
    _, found = quiet(
        itk.elastix_registration_method,
        a,
        b,
        parameter_object=parameters,
        log_to_console=False,
        number_of_threads=threads,
    )
    # transformix writes files into the current folder unless it is given another.
    with tempfile.TemporaryDirectory(prefix="samreg-elastix-") as folder:
        displacement = quiet(itk.transformix_deformation_field, b, found, log_to_console=False, output_directory=folder)
        u: np.ndarray = itk.array_from_image(displacement).astype(np.float32)
    return u


def _solve(fixed: Image, moving: Image, *, intra_subject: bool, threads: int) -> DisplacementField:
    if intra_subject:
        maps = [_bspline(fixed.grid, _GRID_MM, 0.05, 500)]
    else:
        maps = [_affine(fixed.grid), _bspline(fixed.grid, _COARSE_GRID_MM, 0.05, 500)]
    return DisplacementField(_register(fixed, moving, maps, threads), fixed.grid)


def _solve_slices(fixed: Image, moving: Image, *, intra_subject: bool, threads: int) -> DisplacementField:  # noqa: ARG001
    def one(a: Image, b: Image) -> np.ndarray:
        return _register(a, b, [_bspline(a.grid, _GRID_MM, 0.05, 400)], threads)

    return register_slices(fixed, moving, one)


ELASTIX = Method(
    "elastix",
    _solve,
    {
        "affine": "normalised correlation, 4 levels, 300 iterations (between subjects only)",
        "deformable": f"B-spline every {_GRID_MM:g} mm within a subject, {_COARSE_GRID_MM:g} mm between "
        "(or one a thick slice), 4 levels, 500 iterations of 2048 samples; normalised correlation, "
        "bending energy 0.05",
    },
    "itk-elastix",
    "itk",
    _INSTALL,
    dimensions=(2, 3),
)

ELASTIX_2D = Method(
    "elastix2d",
    _solve_slices,
    {
        "deformable": f"slice by slice: B-spline every {_GRID_MM:g} mm, normalised correlation, "
        "4 levels, 400 iterations of 2048 samples, bending energy 0.05"
    },
    "itk-elastix",
    "itk",
    _INSTALL,
    slices_only=True,
)
