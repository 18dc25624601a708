"""An affine map by mutual information with SimpleITK, for peers that bring none of their own."""

from __future__ import annotations

import numpy as np

from samreg.geometry.image import Image
from samreg.lab.peers.itk_bridge import matrix_of, to_sitk
from samreg.types import Matrix

__all__ = ["register_affine"]

_SEED = 1  # of the sampling of the metric


def register_affine(fixed: Image, moving: Image) -> Matrix:
    """The better of two affine registrations, started from the image centres and from the centres of mass.

    Mattes mutual information, three levels (4, 2, 1), regular step gradient descent.

    Args:
        fixed: the fixed image, 3D.
        moving: the moving image, 3D.

    Returns:
        (4, 4) fixed world to moving world.
    """
    import SimpleITK as sitk

    a, b = to_sitk(fixed), to_sitk(moving)
    best, best_value = np.eye(4), np.inf
    for start in (sitk.CenteredTransformInitializerFilter.GEOMETRY, sitk.CenteredTransformInitializerFilter.MOMENTS):
        initial = sitk.CenteredTransformInitializer(a, b, sitk.AffineTransform(3), start)
        method = sitk.ImageRegistrationMethod()
        method.SetMetricAsMattesMutualInformation(32)
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentage(0.1, _SEED)
        method.SetInterpolator(sitk.sitkLinear)
        method.SetOptimizerAsRegularStepGradientDescent(1.0, 1e-4, 200, relaxationFactor=0.6)
        method.SetOptimizerScalesFromPhysicalShift()
        method.SetShrinkFactorsPerLevel([4, 2, 1])
        method.SetSmoothingSigmasPerLevel([2, 1, 0])
        method.SetInitialTransform(initial, inPlace=False)
        matrix = matrix_of(method.Execute(a, b))
        # From far away the descent may end in a mirrored body, and mutual information may like it best.
        if np.linalg.det(matrix[:3, :3]) > 0 and method.GetMetricValue() < best_value:
            best, best_value = matrix, method.GetMetricValue()
    return best
