"""The parts of a training run: splits, random patches, objectives."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from samreg.errors import ConfigError
from samreg.lab.baselines.networks.spec import NetworkSpec
from samreg.lab.baselines.splits import only_test, split_subjects, stored_split, subjects_of
from samreg.lab.baselines.training.augment import draw_batch, random_patch
from samreg.lab.baselines.training.config import AugmentConfig, LossConfig, TrainConfig
from samreg.lab.baselines.training.objectives import (
    bending_energy,
    class_dice,
    one_hot,
    scores_on,
    squared_gradient,
    training_objective,
)

STILL = AugmentConfig(rotation=0, scale=0, shift=0, flip=0, gamma=0, contrast=0, noise=0)
ACDC = (
    "007 012 013 014 015 018 022 027 028 029 032 038 045 047 048 051 054 058 "
    "066 067 068 071 073 079 082 084 091 094 095 096"
)
PATIENTS = [f"patient{number}" for number in ACDC.split()]


def test_stored_split_has_twenty_and_ten_patients_and_none_in_both() -> None:
    split = split_subjects(PATIENTS, dataset="acdc")
    folds = [set(split[name]) for name in ("train", "validation", "test")]
    assert all(a.isdisjoint(b) for a, b in itertools.combinations(folds, 2))
    assert set().union(*folds) == set(PATIENTS)
    assert len(split["test"]) == 10
    assert len(split["train"]) + len(split["validation"]) == 20
    stored = stored_split("acdc")
    assert stored is not None
    assert split["test"] == stored["test"]


def test_stored_split_ignores_seed_and_sends_new_patients_to_training() -> None:
    split = split_subjects([*PATIENTS, "patient100", PATIENTS[0]], dataset="acdc", seed=5, n_test=1)
    assert split["test"] == split_subjects(PATIENTS, dataset="acdc")["test"]
    assert "patient100" in split["train"]


def test_drawn_split_follows_the_seed_not_the_order() -> None:
    subjects = [f"s{i}" for i in range(12)]
    split = split_subjects(subjects, n_test=4, n_validation=2, seed=3)
    assert [len(split[name]) for name in ("train", "validation", "test")] == [6, 2, 4]
    assert split_subjects(subjects[::-1] + subjects, n_test=4, n_validation=2, seed=3) == split
    assert split_subjects(subjects, n_test=4, n_validation=2, seed=4) != split


def test_a_split_without_training_subjects_is_refused() -> None:
    with pytest.raises(ConfigError, match="3 subjects leave 0 for training, 1 for validation and 2 for the test"):
        split_subjects(["a", "b", "c"], n_test=2, n_validation=1)


@dataclass(frozen=True)
class _Pair:
    id: str
    fixed: Path
    moving: Path
    intra_subject: bool


def _record(a: str, b: str = "") -> _Pair:
    return _Pair(a + b, Path(f"x/{a}.nii.gz"), Path(f"x/{b or a}.nii.gz"), not b)


def test_test_pairs_have_both_subjects_in_the_test() -> None:
    pairs = [_record("patient013"), _record("patient007"), _record("patient013", "patient015")]
    pairs.append(_record("patient013", "patient007"))
    assert only_test(pairs, "acdc") == [pairs[0], pairs[2]]
    assert subjects_of(pairs[3]) == ("patient013", "patient007")
    with pytest.raises(ConfigError, match="no split is stored for the dataset 'chaos'"):
        only_test(pairs, "chaos")
    with pytest.raises(ConfigError, match="none of these 1 pairs"):
        only_test(pairs[1:2], "acdc")


@pytest.mark.parametrize("shape", [(12, 14), (6, 12, 14)])
def test_a_patch_without_changes_is_the_middle(shape: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, *shape)
    labels = torch.randint(0, 4, (1, *shape))
    patch = tuple(n - 4 for n in shape)
    grey, classes = random_patch(image, labels, patch, STILL, generator)
    middle = (slice(None), *(slice(2, -2) for _ in shape))
    assert torch.allclose(grey, image[middle], atol=1e-5)
    assert torch.equal(classes, labels[middle])


def test_fixed_and_moving_and_their_labels_move_together() -> None:
    generator = torch.Generator().manual_seed(1)
    labels = torch.zeros(2, 32, 32, dtype=torch.long)
    labels[:, 8:20, 12:26] = 2
    image = labels.float() / 2
    config = AugmentConfig(gamma=0, contrast=0, noise=0)
    seen = set()
    for _ in range(8):
        grey, classes = random_patch(image, labels, (24, 24), config, generator)
        assert torch.allclose(grey[0], grey[1])
        assert ((grey[0] > 0.5) != (classes[0] == 2)).float().mean() < 0.02  # only edges differ by interpolation
        assert set(classes.unique().tolist()) <= {0, 2}
        seen.add(int((classes == 2).sum()))
    assert len(seen) > 4


def test_slices_of_a_volume_are_neither_mixed_nor_mirrored() -> None:
    generator = torch.Generator().manual_seed(2)
    image = torch.arange(8.0)[None, :, None, None].expand(1, 8, 16, 16) / 8
    config = AugmentConfig(scale=0, shift=0, gamma=0, contrast=0, noise=0)
    grey, _ = random_patch(image, torch.zeros(1, 8, 16, 16, dtype=torch.long), (8, 8, 8), config, generator)
    assert torch.allclose(grey[0], image[0, :, :8, :8], atol=1e-5)


def test_batches_repeat_with_the_generator() -> None:
    images = [torch.rand(1, 20, 20) for _ in range(3)]
    labels = [torch.randint(0, 2, (1, 20, 20)) for _ in range(3)]

    def batch(seed: int) -> torch.Tensor:
        return draw_batch(images, labels, 4, (16, 16), AugmentConfig(), torch.Generator().manual_seed(seed))[0]

    assert batch(0).shape == (4, 1, 16, 16)
    assert torch.equal(batch(0), batch(0))
    assert not torch.equal(batch(0), batch(1))


def test_smoothness_terms_of_known_fields() -> None:
    y, x = torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")
    linear = torch.stack([2 * x, torch.zeros_like(x)])[None]
    # One of two components has slope 2 along one of two axes: 4 / 2 / 2.
    assert squared_gradient(linear) == pytest.approx(1.0)
    assert bending_energy(linear) == pytest.approx(0.0)
    assert bending_energy(torch.stack([x * x, 0 * x])[None]) == pytest.approx(2.0)  # second derivative 2: 4 / 2
    assert bending_energy(torch.stack([x * y, 0 * x])[None]) == pytest.approx(1.0)  # mixed derivative 1, twice: 2 / 2
    assert squared_gradient(torch.ones(1, 3, 4, 4, 4)) == 0


def _pair() -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.zeros(1, 2, 32, 32, dtype=torch.long)
    labels[:, 0, 10:20, 10:20] = 1
    labels[:, 1, 10:20, 13:23] = 1
    return labels.float() * 0.8, labels


@pytest.mark.parametrize(("name", "loss"), [
    ("voxelmorph", LossConfig()),
    ("voxelmorph", LossConfig(similarity="mse")),
    ("voxelmorph", LossConfig(similarity="mse", dice=1.0)),
    ("labelreg", LossConfig()),
])  # fmt: skip
def test_registration_objectives_prefer_the_true_field(name: str, loss: LossConfig) -> None:
    pytest.importorskip("monai")
    spec = NetworkSpec(name, 2, (32, 32), (1.0, 1.0))
    objective = training_objective(spec, TrainConfig(loss=loss), 1)
    images, labels = _pair()
    true = torch.zeros(1, 2, 32, 32)
    true[:, 1] = 3.0  # array order (y, x): the moving square lies three pixels further along x
    wrong = -true
    still = torch.zeros_like(true)
    values = [float(objective(u, images, labels)) for u in (true, still, wrong)]
    assert values[0] < values[1] < values[2] + 1e-6


def test_voxelmorph_is_unsupervised_by_default() -> None:
    pytest.importorskip("monai")
    spec = NetworkSpec("voxelmorph", 2, (32, 32), (1.0, 1.0))
    objective = training_objective(spec, TrainConfig(), 1)
    images, labels = _pair()
    u = torch.rand(1, 2, 32, 32)
    assert objective(u, images, labels) == objective(u, images, torch.zeros_like(labels))


def test_slices_without_labels_do_not_pull_on_labelreg() -> None:
    pytest.importorskip("monai")
    objective = training_objective(NetworkSpec("labelreg", 2, (32, 32), (1.0, 1.0)), TrainConfig(), 2)
    images, labels = _pair()
    u = torch.full((1, 2, 32, 32), 2.0)
    assert objective(u, images, torch.zeros_like(labels)) == pytest.approx(0.0, abs=1e-5)


def test_segmentation_objective_weighs_resolutions() -> None:
    pytest.importorskip("monai")
    spec = NetworkSpec("fct", 2, (32, 32), (1.0, 1.0), 1)
    images, labels = _pair()
    labels = labels[:, :1]
    right = (one_hot(labels[:, 0], 1) * 20 - 10) * torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)
    coarse = right[:, :, ::2, ::2]
    objective = training_objective(spec, TrainConfig(), 1)
    assert objective([right, coarse], images, labels) < 0.02
    assert objective([right, -coarse], images, labels) < objective([-right, coarse], images, labels)
    alone = training_objective(spec, TrainConfig(loss=LossConfig(deep_supervision=0.0)), 1)
    assert alone([right, -coarse], images, labels) < 0.02


def test_class_dice_of_known_maps() -> None:
    a = torch.tensor([[1, 1, 0, 2], [0, 0, 0, 2]])
    b = torch.tensor([[1, 0, 0, 0], [0, 0, 0, 2]])
    found = class_dice(a, b, 3)
    assert found[:2] == pytest.approx([2 / 3, 2 / 3])
    assert math.isnan(found[2])


def test_registration_is_scored_by_warped_labels() -> None:
    images, labels = _pair()

    class Shift(torch.nn.Module):
        def forward(self, fixed: torch.Tensor, moving: torch.Tensor) -> torch.Tensor:
            u = torch.zeros(len(fixed), 2, *fixed.shape[2:])
            u[:, 1] = 3.0
            return u

    class Still(torch.nn.Module):
        def forward(self, fixed: torch.Tensor, moving: torch.Tensor) -> torch.Tensor:
            return torch.zeros(len(fixed), 2, *fixed.shape[2:])

    assert scores_on(Shift(), images, labels, 1, registration=True) == [1.0]
    assert scores_on(Still(), images, labels, 1, registration=True) == pytest.approx([0.7])
