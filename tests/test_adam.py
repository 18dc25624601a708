"""The optimiser of elastic levels."""

import subprocess
import sys

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from samreg.geometry.ops.adam import Adam


@settings(deadline=None)
@given(seed=st.integers(0, 2**31), lr=st.floats(1e-4, 10.0), steps=st.integers(1, 40))
def test_the_steps_are_those_of_torch(seed: int, lr: float, steps: int) -> None:
    random = torch.Generator().manual_seed(seed)
    ours = torch.randn(3, 2, 5, generator=random)
    theirs = ours.clone().requires_grad_(True)
    adam, reference = Adam(ours, lr), torch.optim.Adam([theirs], lr)
    for _ in range(steps):
        gradient = torch.randn(3, 2, 5, generator=random)
        adam.step(gradient)
        theirs.grad = gradient.clone()
        reference.step()
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-6)


_FITS = """
import sys
import torch
from samreg.geometry.ops.adam import Adam
from samreg.geometry.ops.cells import bracket

Adam(torch.zeros(3), 0.1).step(torch.ones(3))
bracket(torch.zeros(2, 6, 6), 5 * torch.rand(20, 2, dtype=torch.float64), 1e-4, everywhere=True)
print([name for name in ("torch._dynamo", "sympy") if name in sys.modules])
"""


def test_nothing_loads_the_compiler_of_torch() -> None:
    """It takes longer to load than a small fit takes."""
    done = subprocess.run([sys.executable, "-c", _FITS], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "[]"
