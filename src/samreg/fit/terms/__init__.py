"""Terms of the objective: a displacement goes in, and one differentiable number comes out; a file a term.

What compares grey values is found by name: another package can add one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["BUILT_IN", "Similarity"]

BUILT_IN = {"lncc": "samreg.fit.terms.lncc:Lncc"}
"""Name -> where a term is that compares grey values. It is made of the fixed image and a window: see `Lncc`."""


@runtime_checkable
class Similarity(Protocol):
    """A term that compares grey values; it is made of the fixed image (1, *shape) and a window size an axis."""

    def __call__(self, warped: Tensor, held: Tensor | None = None) -> Tensor:
        """The term, 0 for a perfect match.

        Args:
            warped: (1, *shape) the warped moving image in [0, 1].
            held: (1, *shape) 1 where there is a moving image, 0 beyond its edge; None is everywhere.
        """
        ...
