"""Prompts of one run: what the process that computes keeps from one to the next, and the prompt that is going on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from samreg.config import RegisterConfig
from samreg.errors import InputError
from samreg.geometry.image import Image
from samreg.prompt.prompting import Prompting
from samreg.regions.stack import Stack
from samreg.runs.run_folder import Run
from samreg.segmenters.base import Segmenter
from samreg.types import Points
from samreg.viewer.display import Display
from samreg.viewer.masks import shown_roi

__all__ = ["Asking"]

_PATIENCE_S = 0.1
"""How long one call of `go_on` works: a prompt that comes meanwhile waits for it."""


class Asking:
    """The images of a run as slices, and the last prompt.

    The slices that were encoded stay: a second prompt near the first one is answered at once.

    Args:
        run: says where its transform puts points.
        images: fixed and moving.
        segmenter: answers.
        config: slices and the threshold epsilon.
    """

    def __init__(self, run: Run, images: tuple[Image, Image], segmenter: Segmenter, config: RegisterConfig) -> None:
        self._run, self._config = run, config
        self._stacks = {
            s: Stack(i, segmenter, config.segment) for s, i in zip(("fixed", "moving"), images, strict=True)
        }
        self._carry: dict[str, Callable[[Points], Points] | None] = {}
        self._number = 0
        self._side = "fixed"
        self._work: Prompting | None = None
        self._steps: Iterator[None] = iter(())
        self._looked = False

    def ready(self, points: dict[str, list[float]]) -> None:
        """Encode the slices on which some points lie.

        Args:
            points: side -> (x, y, z), shown indices of that image.
        """
        for side, at in points.items():
            stack = self._stacks[side]
            world = Display(stack.image.grid).world(np.asarray([at], dtype=float))
            number = float(stack.locate(world)[0][0])
            stack.view(int(np.clip(round(number), 0, len(stack) - 1)))

    def begin(self, side: str, where: dict[str, list[float]]) -> dict[str, Any]:
        """The region at a point or box on one slice, at once; `go_on` looks for its counterpart and does the rest.

        Args:
            side: the image that is prompted.
            where: `point` (x, y, z) or `box` (x, y, z, x, y, z), shown indices of that image.

        Returns:
            Regions of both sides as the page takes them (None where there is no counterpart), similarity, way back,
            confidence, whether a counterpart was looked for, the reason where there is none, the number of the prompt,
            and whether it is complete.
        """
        self._work = None
        self._number += 1
        other = "moving" if side == "fixed" else "fixed"
        given = self._stacks[side]
        ((kind, numbers),) = where.items()
        world = Display(given.image.grid).world(np.asarray(numbers, dtype=float).reshape(-1, 3)).ravel().tolist()
        if side not in self._carry:
            self._carry[side] = self._run.carry(side)
        work = Prompting(given, self._stacks[other], self._config, carry=self._carry[side])
        work.find_region(world if kind == "point" else None, world if kind == "box" else None, None)
        self._side, self._work, self._steps, self._looked = side, work, work.steps(), False
        return self._answer(work, complete=False)

    def go_on(self, number: int) -> dict[str, Any]:
        """Some more of a prompt: first its counterpart on one slice, then both followed through further slices.

        Args:
            number: of the prompt, as `begin` gave it.

        Raises:
            InputError: if another prompt has come since, or the process is another one.
        """
        work = self._work
        if work is None or number != self._number:
            raise InputError("another prompt has come since; ask again")
        if not self._looked:
            work.find_counterpart()
            self._looked = True
            return self._answer(work, complete=False)
        end, complete = time.monotonic() + _PATIENCE_S, False
        while not complete and time.monotonic() < end:
            complete = next(self._steps, self) is self
        return self._answer(work, complete=complete)

    def _answer(self, work: Prompting, *, complete: bool) -> dict[str, Any]:
        answer, other = work.answer(), "moving" if self._side == "fixed" else "fixed"
        sides = {self._side: shown_roi(answer.region[0], Display(work.fixed.image.grid)), other: None}
        if answer.found:
            sides[other] = shown_roi(answer.pairs.moving[0], Display(work.moving.image.grid))
        return {
            **sides,
            "number": self._number,
            "complete": complete,
            "looked": self._looked,
            "found": answer.found,
            "reason": answer.reason,
            "similarity": float(answer.similarity),
            "cycle": float(answer.cycle),
            "confidence": float(answer.confidence),
        }
