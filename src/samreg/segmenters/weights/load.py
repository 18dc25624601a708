"""One door to every segmenter: `load_segmenter`."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

from samreg.errors import ModelError

if TYPE_CHECKING:
    from samreg.segmenters.base import Segmenter
    from samreg.segmenters.sam.architecture import Model

__all__ = ["load_segmenter", "weights_fingerprint"]


def load_segmenter(name: str, *, engine: str = "auto", device: str = "auto", precision: str = "auto") -> Segmenter:
    """A segmenter, ready to encode and to be prompted.

    MedSAM has exactly the tensors of SAM ViT-B and differs in what its input looks like. It is told by `medsam` in the
    name; the prefixes `medsam:` and `sam:` say it outright.

    Args:
        name: `litemedsam`, a Hugging Face id, a model folder, or a checkpoint file.
        engine: `auto`, `torch` or `openvino`.
        device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
        precision: `auto`, `float32`, `bfloat16` or `float16`.

    Raises:
        ModelError: if the weights are missing, damaged, or of an architecture samreg does not know.
        MissingDependencyError: if a package that this segmenter needs is not installed.
        ConfigError: if engine, device and precision do not fit together, or not this machine.
    """
    from samreg.segmenters.engines.torch_engine import make_engine
    from samreg.segmenters.sam.segmenter import SamSegmenter

    model, fingerprint = _load(name)
    # Prompts are embedded in float32 on the CPU, whatever computes the rest.
    prompt_encoder = copy.deepcopy(model.network.prompt_encoder)
    return SamSegmenter(
        name,
        fingerprint,
        model.family,
        model.prompt_kind,
        model.multimask,
        model.input_spec,
        prompt_encoder,
        make_engine(model.network, fingerprint, engine, device, precision),
    )


def weights_fingerprint(name: str) -> str | None:
    """sha256 of the weights of a segmenter whose weights are one file, without loading them; None for others.

    Args:
        name: as for `load_segmenter`.

    Raises:
        MissingDependencyError: if the weights of `litemedsam` are not installed.
    """
    from samreg.files import sha256_of

    if name == "litemedsam":
        from samreg.segmenters.weights import litemedsam

        return sha256_of(litemedsam.weights_path())
    path = Path(_place(name)[0]).expanduser()
    return sha256_of(path) if path.is_file() else None


def _place(name: str) -> tuple[str, bool]:
    """Where a model is, and whether it takes images as MedSAM does: `sam:` and `medsam:` say so, else its name does."""
    prefix, colon, rest = name.partition(":")
    if colon and prefix in ("sam", "medsam"):
        return rest, prefix == "medsam"
    return name, "medsam" in Path(name).name.lower()


def _load(name: str) -> tuple[Model, str]:
    from samreg.lab.baselines.segmenter import is_class_checkpoint
    from samreg.segmenters.weights.hugging_face import is_hub_id, load_folder, snapshot

    if name == "litemedsam":
        return _litemedsam()
    where, medsam = _place(name)
    path = Path(where).expanduser()
    if is_class_checkpoint(where):
        raise ModelError(
            f"{where} is a network trained by samreg: it knows classes and takes no prompts; use it "
            "with register or segment"
        )
    if path.is_file():
        return _checkpoint(path, medsam=medsam)
    if path.is_dir():
        return load_folder(path, where, medsam=medsam)
    if path.suffix in (".pth", ".pt", ".bin", ".safetensors") or where.startswith((".", "/", "~")):
        raise ModelError(f"{where}: there is no such file or folder; give a checkpoint, a model folder or a hub id")
    if is_hub_id(where):
        return load_folder(snapshot(where), where, medsam=medsam)
    raise ModelError(f"there is no segmenter {name!r}; `samreg models` lists what there is")


def _litemedsam() -> tuple[Model, str]:
    from samreg.files import sha256_of
    from samreg.segmenters.sam.architecture import build
    from samreg.segmenters.weights import litemedsam
    from samreg.segmenters.weights.checkpoints import read_torch_checkpoint

    path = litemedsam.weights_path()
    fingerprint = sha256_of(path)
    if fingerprint != litemedsam.SHA256:
        raise ModelError(
            f"{path}: sha256 {fingerprint[:12]}... is not that of LiteMedSAM; reinstall {litemedsam.PACKAGE}"
        )
    return build(read_torch_checkpoint(path), str(path), medsam=True), fingerprint


def _checkpoint(path: Path, *, medsam: bool) -> tuple[Model, str]:
    from samreg.files import sha256_of
    from samreg.segmenters.sam.architecture import build
    from samreg.segmenters.weights.checkpoints import read_safetensors, read_torch_checkpoint
    from samreg.segmenters.weights.sam_names import original_names

    state = read_safetensors(path) if path.suffix == ".safetensors" else read_torch_checkpoint(path)
    return build(original_names(state), str(path), medsam=medsam), sha256_of(path)
