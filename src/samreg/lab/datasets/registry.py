"""The names under which datasets are opened."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from samreg.errors import DatasetError
from samreg.lab.datasets import acdc, folder, learn2reg, nnunet, pairs, promise12
from samreg.lab.datasets.base import PairRecord, unique_ids

__all__ = ["dataset_names", "open_dataset"]

_READERS: dict[str, Callable[[Path], list[PairRecord]]] = {
    "acdc": acdc.read_pairs,
    "amos22": partial(nnunet.read_pairs, name="amos22"),
    "msd": partial(nnunet.read_pairs, name="msd"),
    "nnunet": partial(nnunet.read_pairs, name="nnunet"),
    "hippocampus_mr_msd": partial(nnunet.read_pairs, name="hippocampus_mr_msd"),
    "promise12": promise12.read_pairs,
    "learn2reg": learn2reg.read_pairs,
    "pairs": pairs.read_pairs,
    "folder": partial(folder.read_pairs, name="folder"),
    "prostate_mr_promise12": partial(folder.read_pairs, name="prostate_mr_promise12"),
    "abdomen_ct_btcv": partial(folder.read_pairs, name="abdomen_ct_btcv"),
    "abdomen_mr_chaos": partial(folder.read_pairs, name="abdomen_mr_chaos"),
    "prostate_mr_prostatex": folder.read_prostatex,
    "retina_fire": folder.read_fire,
    "histology_landmarks": folder.read_histology,
}


def dataset_names() -> list[str]:
    """Names that `open_dataset` knows."""
    return sorted(_READERS)


def open_dataset(name: str, root: Path | str, limit: int = 0) -> list[PairRecord]:
    """The standard pairs of a dataset.

    Args:
        name: one of `dataset_names()`.
        root: the folder it was unpacked into, or the folder that holds it under its own name; for `pairs` the table.
        limit: only so many pairs, the first ones; 0 is all.

    Raises:
        DatasetError: if the name is unknown, or the dataset is absent or incomplete; the message lists what is
            missing.
    """
    if name not in _READERS:
        raise DatasetError(f"there is no dataset {name!r}; choose one of {', '.join(dataset_names())}")
    path = Path(root)
    if not path.exists():
        raise DatasetError(f"{name}: the folder {path} does not exist; give the folder the dataset was unpacked into")
    if name != "pairs" and (path / name).is_dir():
        path = path / name
    found = unique_ids(_READERS[name](path), name)
    return found[:limit] if limit > 0 else found
