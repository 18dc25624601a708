"""One prompt: a point, box or mask of the fixed image goes in, and a pair of regions comes out."""

from __future__ import annotations

from samreg.prompt.pair import PromptAnswer, prompt_pair

__all__ = ["PromptAnswer", "prompt_pair"]
