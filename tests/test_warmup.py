"""`samreg warmup` asks a segmenter for everything that the first registration would."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from samreg.cli import main
from samreg.segmenters import registry
from samreg.segmenters.base import Encoding, Masks, Prompts


class _Counts:
    name, fingerprint, engine = "small", "0", "none-at-all"
    input_size, supports_multimask = 16, True

    def __init__(self, kind: str) -> None:
        self.prompt_kind = kind
        self.encoded: list[int] = []
        self.asked: list[tuple[str, bool, bool]] = []

    def encode(self, slices: Sequence[np.ndarray]) -> list[Encoding]:
        self.encoded.append(len(slices))
        return [Encoding(torch.zeros(1, 4, 4), (16, 16), 16) for _ in slices]

    def prompt(self, encoding: Encoding, prompts: Prompts, *, multimask: bool = False, coarse: bool = False) -> Masks:
        self.asked.append(("points" if prompts.boxes is None else "boxes", multimask, coarse))
        return Masks(torch.zeros(1, 1, 4, 4), torch.zeros(1, 1))


@pytest.mark.parametrize("kind", ["boxes", "points"])
def test_every_network_is_used_once(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    segmenter = _Counts(kind)
    monkeypatch.setattr(registry, "open_segmenter", lambda *_, **__: segmenter)
    assert main(["warmup"]) == 0
    assert segmenter.encoded == [1, 2]
    boxes = [("boxes", False, True), ("boxes", False, False)]
    assert segmenter.asked == ([("points", True, True)] if kind == "points" else []) + boxes
    assert "small is ready on none-at-all" in capsys.readouterr().out


def test_both_inputs_of_a_network_that_has_two_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    class Two(_Counts):
        def side_for(self, shape: tuple[int, int]) -> int:
            return 8 if max(shape) <= 64 else 16

    segmenter = Two("boxes")
    monkeypatch.setattr(registry, "open_segmenter", lambda *_, **__: segmenter)
    assert main(["warmup"]) == 0
    assert segmenter.encoded == [1, 2, 1, 2]


def test_a_segmenter_that_is_not_there_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["warmup", "--segmenter", "nothing"]) != 0
    assert "nothing" in capsys.readouterr().err
