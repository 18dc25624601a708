"""One point, box or mask in the fixed image gives its region there and the paired region in the moving image."""

from __future__ import annotations

from samreg.prompt.pair import PromptAnswer, prompt_pair

__all__ = ["PromptAnswer", "prompt_pair"]
