"""Everything runs on a device of its own, not only on the CPU: tried on one that this machine pretends to have."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from scipy import ndimage

import samreg
from bodies import CUBE, STACK, stretched_pair
from pretend_device import DEVICE, pretend_device
from sam_fixtures import write_hf_sam2, write_sam_checkpoint
from samreg.config import ElasticConfig, FlowConfig, ProposalConfig, RegisterConfig, SegmentConfig
from samreg.errors import ConfigError
from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.geometry.ops.devices import find_device, fit_device
from samreg.geometry.rois import PairedRois, Roi, RoiSet
from samreg.initial import problem
from samreg.regions.everything.finder import EverythingMode
from samreg.regions.everything.rules import RULES
from samreg.regions.regions import FeatureVolume, Regions
from samreg.segmenters.base import Encoding, Masks, Prompts, Segmenter, prompt_slices, slices_at_once
from samreg.segmenters.engines.torch_engine import TorchEngine
from samreg.segmenters.sam_segmenter import SamSegmenter
from samreg.segmenters.weights.load import find_weights


def test_pretended_tensors_do_not_meet_those_of_the_cpu() -> None:
    with pretend_device() as device:
        there = torch.arange(6.0, device=device)
        assert there.device == DEVICE
        assert float((there * torch.tensor(2.0)).sum()) == 30.0
        np.testing.assert_array_equal(there.cpu(), torch.arange(6.0))
        with pytest.raises(AssertionError, match="meets one of the device"):
            there + torch.ones(6)
        with pytest.raises(TypeError, match="numpy"):
            there.numpy()


def _segmenter(path: Path, device: str) -> SamSegmenter:
    weights = find_weights(str(path))
    assert weights is not None
    model = weights.load()
    return SamSegmenter(
        "small",
        "0",
        model.prompt_kind,
        model.multimask,
        model.input_spec,
        copy.deepcopy(model.network.prompt_encoder),
        TorchEngine(model.network, device, "float32"),
    )


def _boxes(seed: int, n: int) -> Prompts:
    corners = np.sort(np.random.default_rng(seed).uniform(0, 60, (n, 2, 2)), axis=1)
    return Prompts(boxes=corners.reshape(n, 4).astype(np.float32))


@pytest.mark.parametrize("family", ["sam", "sam2"])
def test_slices_asked_together_answer_as_each_alone(family: str, tmp_path: Path) -> None:
    """Different numbers of prompts, in one pass where the network allows it."""
    path = tmp_path / ("small.pth" if family == "sam" else "sam2")
    write_sam_checkpoint(path) if family == "sam" else write_hf_sam2(path)
    slices = [np.random.default_rng(i).random((48, 64)).astype(np.float32) for i in range(3)]
    prompts = [_boxes(0, 3), _boxes(1, 5), _boxes(2, 1)]
    segmenter = _segmenter(path, "cpu")
    alone = [segmenter.prompt(e, p, coarse=True) for e, p in zip(segmenter.encode(slices), prompts, strict=True)]
    with pretend_device():
        there = _segmenter(path, "meta")
        assert there.slices_at_once > 1
        together = there.prompt_slices(there.encode(slices), prompts, coarse=True)
        assert all(answer.logits.device == DEVICE for answer in together)
        together = [dataclasses.replace(a, logits=a.logits.cpu(), quality=a.quality.cpu()) for a in together]
    for one, other in zip(alone, together, strict=True):
        torch.testing.assert_close(other.logits, one.logits, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(other.quality, one.quality, rtol=1e-3, atol=1e-3)


class _Fills:
    """A box's mask is an ellipse in it, a point's a disc around it; everything is computed on one device."""

    name, fingerprint, engine = "fills", "0", "none"
    input_size = 64
    supports_multimask = False

    def __init__(self, kind: str, device: torch.device, slices_at_once: int) -> None:
        self.prompt_kind, self.device, self.slices_at_once = kind, device, slices_at_once
        self.calls: list[int] = []

    def encode(self, slices: Sequence[np.ndarray]) -> list[Encoding]:
        cells = [np.kron(s[::4, ::4], np.ones((2, 1, 1))).reshape(2, -1, s.shape[1] // 4) for s in slices]
        padded = [np.pad(c, [(0, 0), (0, 16 - c.shape[1]), (0, 16 - c.shape[2])]).astype(np.float32) for c in cells]
        return [Encoding(torch.as_tensor(c).to(self.device), s.shape, 64) for c, s in zip(padded, slices, strict=True)]

    def prompt_slices(
        self,
        encodings: Sequence[Encoding],
        prompts: Sequence[Prompts],
        *,
        multimask: bool = False,
        coarse: bool = False,
    ) -> list[Masks]:
        self.calls.append(len(encodings))
        return [self.prompt(e, p, multimask=multimask, coarse=coarse) for e, p in zip(encodings, prompts, strict=True)]

    def prompt(self, encoding: Encoding, prompts: Prompts, *, multimask: bool = False, coarse: bool = False) -> Masks:
        if prompts.boxes is not None:
            low, high = prompts.boxes[:, :2], prompts.boxes[:, 2:]
        else:
            assert prompts.points is not None
            low, high = prompts.points[:, 0] - 5, prompts.points[:, 0] + 5
        middle, half = (low + high) / 2 * encoding.scale, np.maximum(high - low, 1) / 2 * encoding.scale
        y, x = np.mgrid[:64, :64]
        across, down = ((at - middle[:, a, None, None]) / half[:, a, None, None] for a, at in enumerate((x, y)))
        far = across**2 + down**2
        logits = torch.as_tensor((4 * (1 - far)).astype(np.float32))[:, None].to(self.device)
        quality = torch.as_tensor((0.9 - 0.001 * middle.sum(1)).astype(np.float32))[:, None].to(self.device)
        return Masks(logits[..., ::4, ::4] if coarse else logits, quality)


@pytest.mark.parametrize("rules", ["samreg", "paper"])
@pytest.mark.parametrize("kind", ["boxes", "points"])
def test_the_same_regions_on_a_device(kind: str, rules: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, rules, dataclasses.replace(RULES[rules], points_per_side=6, min_stability=0.0))
    values = ndimage.gaussian_filter(np.random.default_rng(0).random((3, 48, 64)), (0, 3, 3)).astype(np.float32)
    image = Image(values, Grid((3, 48, 64), (1.0, 1.0, 5.0)), "noise")
    settings = SegmentConfig(proposals=ProposalConfig(mask_rules=rules, areas=(0.001, 0.5), max_rois=12))
    here = EverythingMode(_Fills(kind, torch.device("cpu"), 1)).find(image, settings)
    with pretend_device():
        segmenter = _Fills(kind, DEVICE, 2)
        there = EverythingMode(segmenter).find(image, settings)
    if kind == "boxes" or rules == "samreg":
        assert max(segmenter.calls) == 2
    assert len(here) == len(there) > 2
    assert here.features is not None
    assert there.features is not None
    np.testing.assert_array_equal(there.features.data, here.features.data)
    np.testing.assert_allclose(there.prototypes, here.prototypes, rtol=1e-5, atol=1e-6)
    for one, other in zip(here.rois.rois, there.rois.rois, strict=True):
        np.testing.assert_array_equal(one.mask, other.mask)


class _Bands:
    """Regions and an embedding from the image alone: bands of its grey values, and smooth versions of it."""

    name, fingerprint, segmenter = "bands", "0", None

    def find(self, image: Image, settings: SegmentConfig, progress: object = None) -> Regions:
        values = image.data / image.data.max()
        smooth = [ndimage.gaussian_filter(values, (0.5 * s, s, s)) for s in (0.7, 1.5, 3.0)]
        channels = [*smooth, *np.gradient(smooth[1])]
        cells = np.stack(channels)[:, :, ::2, ::2]
        grid = image.grid.with_shape(cells.shape[1:])
        rois, owners = [], []
        for z, layer in enumerate(smooth[1]):
            for low, high in ((0.2, 0.4), (0.4, 0.6), (0.6, 1.0)):
                mask = np.zeros(values.shape, dtype=bool)
                mask[z] = (layer > low) & (layer <= high)
                if mask.sum() > 20:
                    rois.append(Roi.from_mask(mask, 0.9))
                    owners.append(z)
        prototypes = np.asarray([[float(np.mean(r.mask)), *np.eye(3)[i % 3]] for i, r in enumerate(rois)], np.float32)
        features = FeatureVolume(cells.astype(np.float16), grid)
        return Regions(image, RoiSet(tuple(rois), image.grid), prototypes, features, 0, np.asarray(owners))


def _settings(transform: str) -> RegisterConfig:
    config = samreg.preset("default")
    fit = dataclasses.replace(
        config.fit,
        transform=transform,
        work_size=32,
        flow=FlowConfig(flow_iterations=(6, 4)),
        elastic=ElasticConfig(max_iterations=5),
    )
    return dataclasses.replace(config, fit=fit)


@pytest.mark.parametrize(
    ("transform", "grid"),
    [("ddf", CUBE), ("ddf", STACK), ("svf", CUBE), ("affine", CUBE)],
    ids=["ddf", "ddf-stack", "svf", "affine"],
)
def test_the_same_transform_on_a_device(transform: str, grid: Grid, monkeypatch: pytest.MonkeyPatch) -> None:
    """The start, the pairs, the fit and the checks, with pairs that were given and pairs that were found."""
    images = stretched_pair(grid)
    if grid is STACK:
        images = images[0], dataclasses.replace(images[0], data=np.roll(images[0].data, 2, axis=2), name="moving")
    regions = tuple(_Bands().find(image, SegmentConfig()) for image in images)
    given = PairedRois(*(RoiSet(r.rois.rois[:2], r.rois.grid) for r in regions), np.ones(2))
    here = samreg.register_regions(*regions, _settings(transform), extra_pairs=given)
    monkeypatch.setattr(problem, "fit_device", lambda _: DEVICE)
    with pretend_device():
        there = samreg.register_regions(*regions, _settings(transform), extra_pairs=given)
    assert len(here.pairs) == len(there.pairs) > 2
    assert here.field is not None
    assert there.field is not None
    assert np.abs(here.field.u).max() > 1
    np.testing.assert_allclose(there.field.u, here.field.u, atol=0.1 * min(grid.spacing))
    assert {c.name: c.state for c in there.checks} == {c.name: c.state for c in here.checks}


def test_the_same_transform_on_a_device_from_a_given_start(monkeypatch: pytest.MonkeyPatch) -> None:
    fixed, moving = stretched_pair(CUBE)
    initial = samreg.DisplacementField.from_matrix(np.eye(4), CUBE)
    none = Regions.none(fixed), Regions.none(moving)
    here = samreg.register_regions(*none, _settings("ddf"), initial=initial)
    monkeypatch.setattr(problem, "fit_device", lambda _: DEVICE)
    with pretend_device():
        there = samreg.register_regions(*none, _settings("ddf"), initial=initial)
    assert here.field is not None
    assert there.field is not None
    np.testing.assert_allclose(there.field.u, here.field.u, atol=0.1)


class TestNames:
    def test_auto_is_the_best_of_this_machine(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert find_device("auto") == fit_device("auto") == torch.device("cuda")
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
        assert find_device("auto") == torch.device("mps")
        assert fit_device("auto") == torch.device("cpu")

    def test_one_that_is_not_there_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
        assert find_device("cuda:1") == torch.device("cuda:1")
        with pytest.raises(ConfigError, match="cuda:2"):
            find_device("cuda:2")


def test_a_segmenter_without_a_way_to_ask_slices_together_is_asked_one_by_one() -> None:
    asked: list[int] = []

    class Alone:
        def prompt(self, encoding: Encoding, prompts: Prompts, *, multimask: bool, coarse: bool) -> Masks:
            asked.append(len(prompts))
            return Masks(torch.zeros(len(prompts), 1, 4, 4), torch.zeros(len(prompts), 1))

    segmenter = cast("Segmenter", Alone())
    encodings = [Encoding(torch.zeros(1, 4, 4), (16, 16), 16)] * 2
    assert slices_at_once(segmenter) == 1
    assert len(prompt_slices(segmenter, encodings, [_boxes(0, 3), _boxes(1, 2)])) == 2
    assert asked == [3, 2]
