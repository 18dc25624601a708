"""Penalties on the displacement itself; gradient and bending energy are in `geometry.ops.displacement`."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

from samreg.geometry.ops.displacement import jacobian_determinant

__all__ = ["fold_penalty"]

_MIN_DETERMINANT = 0.2


def fold_penalty(u: Tensor) -> Tensor:
    """Mean over the voxels of relu(0.2 - det(I + grad u))^2: what is nearly folded costs, what is not is free.

    Args:
        u: (d, *shape) displacement in voxels, array order.
    """
    return functional.relu(_MIN_DETERMINANT - jacobian_determinant(u)).pow(2).mean()
