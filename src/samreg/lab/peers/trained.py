"""The trained registration networks: `voxelmorph`, `labelreg`, from checkpoints of `samreg train`.

`voxelmorph:FILE` names the checkpoint; `voxelmorph` alone is `voxelmorph.ckpt` in the folder that the environment
variable SAMREG_CHECKPOINTS names, else in the current folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from samreg.errors import ConfigError, ModelError, install_command
from samreg.geometry.field import DisplacementField
from samreg.geometry.image import Image
from samreg.lab.peers.base import Method

if TYPE_CHECKING:
    from samreg.lab.baselines.networks.checkpoint import TrainedNetwork

__all__ = ["checkpoint_path", "trained_method"]


def checkpoint_path(name: str) -> Path:
    """The checkpoint that a method name stands for.

    Raises:
        ModelError: if there is no such file.
    """
    network, _, given = name.partition(":")
    path = Path(given).expanduser() if given else Path(os.environ.get("SAMREG_CHECKPOINTS", ".")) / f"{network}.ckpt"
    if not path.is_file():
        raise ModelError(
            f"the method {network} wants a checkpoint at {path}; train one with `samreg train {network} ...`, "
            f"or name it as {network}:FILE"
        )
    return path


def trained_method(name: str, reuse: bool = False) -> Method:  # noqa: ARG001
    """The method of a name `voxelmorph[:FILE]` or `labelreg[:FILE]`.

    The table shows the network's name alone; the checkpoint's sha256 is among the settings, so that a network trained
    anew is a new method. `reuse` has no meaning here: these networks know no regions.

    Raises:
        ModelError: if there is no such checkpoint, or it is of another architecture.
    """
    network = name.partition(":")[0]
    if network not in ("voxelmorph", "labelreg"):
        raise ConfigError(f"there is no trained method {network!r}; choose voxelmorph or labelreg")
    path = checkpoint_path(name)
    trained = _read(str(path.resolve()), path.stat().st_mtime_ns, network)
    settings = {
        "checkpoint_sha256": trained.fingerprint,
        "trained_on": trained.dataset,
        "test_subjects": list(_subjects(trained, "test")),
        **{key: trained.config[key] for key in sorted(trained.config)},
    }
    return Method(
        name,
        partial(_solve, path=str(path.resolve()), stamp=path.stat().st_mtime_ns, network=network),
        settings,
        package="monai",
        module="monai",
        install=install_command("baselines"),
        dimensions=(2, 3) if trained.spec.dims == 2 else (3,),
    )


def _subjects(trained: TrainedNetwork, part: str) -> Sequence[str]:
    return tuple(trained.split.get(part, ()))


@lru_cache(maxsize=4)
def _read(path: str, stamp: int, network: str) -> TrainedNetwork:  # noqa: ARG001 (a changed file is another one)
    from samreg.lab.baselines.networks.checkpoint import read_checkpoint

    return read_checkpoint(path, architectures=[network])  # type: ignore[list-item]


def _solve(
    fixed: Image,
    moving: Image,
    *,
    intra_subject: bool,  # noqa: ARG001
    threads: int,  # noqa: ARG001 (limited by the caller)
    path: str,
    stamp: int,
    network: str,
) -> DisplacementField:
    from samreg.lab.baselines.networks.predict import choose_device, predict_field

    trained = _read(path, stamp, network)
    device = choose_device()
    return predict_field(trained.net.to(device), trained.spec, fixed, moving, device=device)
