"""Everything mode: prompts over a whole slice, and the masks worth keeping."""

from __future__ import annotations

from samreg.regions.everything.proposals import Proposals
from samreg.regions.everything.propose import propose, propose_slices

__all__ = ["Proposals", "propose", "propose_slices"]
