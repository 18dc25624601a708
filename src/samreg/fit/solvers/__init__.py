"""Ways to minimise the objective: an objective and a start go in, and a better displacement comes out; a file a solver.

A solver plans the levels of a fit: (problem, settings) -> list of `Level`. The transform that a user names is the
name of its solver; another package can add one.
"""

from __future__ import annotations

__all__ = ["BUILT_IN"]

BUILT_IN = {
    "ddf": "samreg.fit.solvers.flow:plan",
    "ffd": "samreg.fit.solvers.elastic:plan",
    "svf": "samreg.fit.solvers.elastic:plan",
}
"""Name -> where a solver is."""
