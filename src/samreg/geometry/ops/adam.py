"""Adam (Kingma and Ba, ICLR 2015, algorithm 1) for one tensor.

PyTorch's own loads its compiler when the first optimiser is made, which takes about four seconds of one core: a tenth
of a registration of two prostates.
"""

from __future__ import annotations

from math import sqrt

import torch
from torch import Tensor

__all__ = ["Adam"]

_BETA = 0.9, 0.999
_EPSILON = 1e-8


class Adam:
    """Changes a tensor in place, against its gradient; the numbers are those of `torch.optim.Adam`.

    Args:
        parameters: of any shape.
        lr: length of a step, in units of the parameters.
    """

    def __init__(self, parameters: Tensor, lr: float) -> None:
        self.parameters, self.lr = parameters, lr
        self._mean, self._square = torch.zeros_like(parameters), torch.zeros_like(parameters)
        self._steps = 0

    @torch.no_grad()
    def step(self, gradient: Tensor) -> None:
        """One step.

        Args:
            gradient: of the loss, in the shape of the parameters.
        """
        self._steps += 1
        self._mean.lerp_(gradient, 1 - _BETA[0])
        self._square.mul_(_BETA[1]).addcmul_(gradient, gradient, value=1 - _BETA[1])
        length = self.lr / (1 - _BETA[0] ** self._steps)
        spread = (self._square.sqrt() / sqrt(1 - _BETA[1] ** self._steps)).add_(_EPSILON)
        self.parameters.addcdiv_(self._mean, spread, value=-length)
