"""One prompt: a point, box or mask of the fixed image goes in, and its region with the paired moving region comes out."""

from __future__ import annotations

from samreg.prompt.pair import PromptAnswer, prompt_pair

__all__ = ["PromptAnswer", "prompt_pair"]
