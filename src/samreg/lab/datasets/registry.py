"""Datasets by name: those of samreg, and those that another package adds by an entry point of `samreg.datasets`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from samreg import plugins
from samreg.errors import DatasetError
from samreg.io.tables import PairRecord, unique_ids

__all__ = ["Reader", "dataset_names", "open_dataset"]

Reader: TypeAlias = Callable[[Path], list[PairRecord]]
"""What an entry point of `samreg.datasets` names: the folder of a dataset to its standard pairs."""


def dataset_names() -> list[str]:
    """Names that `open_dataset` knows."""
    return plugins.names("datasets")


def open_dataset(name: str, root: Path | str, limit: int = 0) -> list[PairRecord]:
    """The standard pairs of a dataset.

    Args:
        name: one of `dataset_names()`.
        root: the folder it was unpacked into, or the folder that holds it under its own name; for `pairs` the table.
        limit: only so many pairs, the first ones; 0 is all.

    Raises:
        DatasetError: if the name is unknown, or the dataset is absent or incomplete; the message lists what is
            missing.
        PluginError: if the reader of the dataset cannot be imported.
    """
    read: Reader | None = plugins.find("datasets", name)
    if read is None:
        raise DatasetError(f"there is no dataset {name!r}; choose one of {', '.join(dataset_names())}")
    path = Path(root)
    if not path.exists():
        raise DatasetError(f"{name}: the folder {path} does not exist; give the folder the dataset was unpacked into")
    if name != "pairs" and (path / name).is_dir():
        path = path / name
    found = unique_ids(read(path), name)
    return found[:limit] if limit > 0 else found
