"""Labelled pairs as tensors on a network's view, and random patches of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from samreg.errors import DatasetError
from samreg.geometry.image import Image
from samreg.io.images import read_image, read_labels
from samreg.lab.baselines.networks.predict import view_of
from samreg.lab.baselines.networks.spec import NetworkSpec
from samreg.lab.baselines.networks.view import View
from samreg.lab.baselines.splits import Pair, subjects_of

__all__ = ["Samples", "TrainingPair", "class_names_of", "load_samples"]


class TrainingPair(Pair, Protocol):
    """What training needs to know of a pair; the records of `samreg.lab.datasets` are such pairs."""

    @property
    def fixed_labels(self) -> Path | None:
        """Label map of the fixed image."""
        ...

    @property
    def moving_labels(self) -> Path | None:
        """Label map of the moving image."""
        ...

    @property
    def label_names(self) -> Mapping[int, str]:
        """Label value -> name."""
        ...


@dataclass(frozen=True, eq=False)
class Samples:
    """The images of one subject, or one pair, on a network's view.

    Args:
        subject: whose they are.
        images: (n, m, *shape) float32 in [0, 1]: n slices (or 1 volume); m = 1 image, or m = 2: fixed, moving.
        labels: (n, m, *shape) int64 class numbers, 0 is background.
    """

    subject: str
    images: Tensor
    labels: Tensor


def class_names_of(pairs: Sequence[TrainingPair]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Label values and names of the classes of a dataset, in ascending order of value.

    Raises:
        DatasetError: if there is no pair, a pair lacks a label map, or no class is named.
    """
    if not pairs:
        raise DatasetError("there is no pair to train on; check the dataset and its folder")
    lacking = [pair.id for pair in pairs if pair.fixed_labels is None or pair.moving_labels is None]
    if lacking:
        raise DatasetError(f"training wants label maps for both images of every pair; {lacking[0]} lacks one")
    names = {value: name for pair in pairs for value, name in pair.label_names.items() if value != 0}
    if not names:
        raise DatasetError("training wants label names, and this dataset names no label")
    values = tuple(sorted(names))
    return values, tuple(names[value] for value in values)


def load_samples(
    pairs: Sequence[TrainingPair], subjects: Sequence[str], spec: NetworkSpec, values: Sequence[int]
) -> list[Samples]:
    """Read the images of some subjects onto a network's view.

    A registration network gets every pair whose two subjects are both among them; a segmentation network gets every
    image once.

    Args:
        pairs: the dataset.
        subjects: those to read.
        spec: the network's.
        values: label value of each class; class number is position + 1.
    """
    wanted, out, seen = set(subjects), [], set()
    for pair in pairs:
        owners = subjects_of(pair)
        if spec.is_registration:
            if wanted.issuperset(owners):
                out.append(_paired(pair, spec, values))
            continue
        files = ((pair.fixed, pair.fixed_labels), (pair.moving, pair.moving_labels))
        for owner, (image, labels) in zip(owners, files, strict=True):
            if owner in wanted and image not in seen:
                seen.add(image)
                seen_image, seen_labels = _read(image, labels, spec, values)
                out.append(Samples(owner, seen_image[:, None], seen_labels[:, None]))
    return out


def _paired(pair: TrainingPair, spec: NetworkSpec, values: Sequence[int]) -> Samples:
    fixed = read_image(pair.fixed)
    sides = [
        _read(image, labels, spec, values, like=fixed)
        for image, labels in ((pair.fixed, pair.fixed_labels), (pair.moving, pair.moving_labels))
    ]
    images, labels = (torch.stack(rows, dim=1) for rows in zip(*sides, strict=True))
    return Samples(pair.id, images, labels)


def _read(
    image: Path, labels: Path | None, spec: NetworkSpec, values: Sequence[int], like: Image | None = None
) -> tuple[Tensor, Tensor]:
    if labels is None:
        raise DatasetError(f"training wants a label map for {image}")
    grey = read_image(image)
    view, seen = view_of(spec, grey, like)
    return torch.from_numpy(seen), torch.from_numpy(_classes(view, labels, values))


def _classes(view: View, labels: Path, values: Sequence[int]) -> np.ndarray:
    array, grid = read_labels(labels)
    numbers = np.zeros(array.shape, dtype=np.int32)
    for number, value in enumerate(values, start=1):
        numbers[array == value] = number
    return view.labels(numbers, grid).astype(np.int64)
