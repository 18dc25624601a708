"""Dice of the test subjects on the images' own grids: what a user of the trained network gets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from samreg.geometry.grid import Grid
from samreg.geometry.image import Image
from samreg.io.images import read_image, read_labels
from samreg.lab.baselines.networks.predict import predict_classes, predict_field
from samreg.lab.baselines.networks.spec import NetworkSpec
from samreg.lab.baselines.splits import subjects_of
from samreg.lab.baselines.training.data import TrainingPair
from samreg.lab.baselines.training.objectives import class_dice
from samreg.regions.known import binarise
from samreg.types import LabelArray

__all__ = ["score_test"]


def score_test(
    net: nn.Module,
    spec: NetworkSpec,
    pairs: Sequence[TrainingPair],
    subjects: Sequence[str],
    values: Sequence[int],
    names: Sequence[str],
    device: torch.device,
) -> dict[str, Any]:
    """Mean Dice of the test subjects, overall and for each class, in float32.

    Returns:
        `test_dice`, `test_dice_<class>`, `test_dice_by_image` (image or pair -> mean Dice), and for a registration
        network `test_dice_before`: that of the identity.
    """
    wanted, rows, before = set(subjects), {}, []
    for pair in pairs:
        owners = subjects_of(pair)
        if pair.fixed_labels is None or pair.moving_labels is None:
            continue
        if spec.is_registration:
            if not wanted.issuperset(owners):
                continue
            fixed, moving = read_image(pair.fixed), read_image(pair.moving)
            (a, _), (b, b_grid) = read_labels(pair.fixed_labels), read_labels(pair.moving_labels)
            field = predict_field(net, spec, fixed, moving, device=device)
            rows[pair.id] = _dice(field.warp_labels(b, b_grid), a, values)
            before.append(_dice(type(field).identity(fixed.grid).warp_labels(b, b_grid), a, values))
            continue
        files = ((pair.fixed, pair.fixed_labels), (pair.moving, pair.moving_labels))
        for owner, (path, labels) in zip(owners, files, strict=True):
            if owner in wanted and path.name not in rows:
                image, (truth, _) = read_image(path), read_labels(labels)
                rows[path.name] = _dice(_segmented(net, spec, image, values, device), truth, values)
    table = np.asarray(list(rows.values()), dtype=float)
    out: dict[str, Any] = {"test_dice": _mean(table)}
    out.update({f"test_dice_{name}": _mean(table[:, i]) for i, name in enumerate(names)})
    if before:
        out["test_dice_before"] = _mean(np.asarray(before))
    out["test_dice_by_image"] = {key: _mean(np.asarray(row)) for key, row in rows.items()}
    return out


def _segmented(
    net: nn.Module, spec: NetworkSpec, image: Image, values: Sequence[int], device: torch.device
) -> LabelArray:
    p = predict_classes(net, spec, image, device=device)
    grid: Grid = image.grid
    rois = binarise(tuple(str(v) for v in values), p, grid)
    return rois.label_map([int(roi.name) for roi in rois.rois])


def _dice(found: LabelArray, truth: LabelArray, values: Sequence[int]) -> list[float]:
    numbered = [np.zeros(found.shape, dtype=np.int64) for _ in range(2)]
    for number, value in enumerate(values, start=1):
        for target, source in zip(numbered, (found, truth), strict=True):
            target[source == value] = number
    a, b = (torch.from_numpy(n) for n in numbered)
    return class_dice(a, b, len(values))


def _mean(values: np.ndarray) -> float:
    found = [float(v) for v in values.ravel() if not math.isnan(v)]
    return sum(found) / len(found) if found else float("nan")
