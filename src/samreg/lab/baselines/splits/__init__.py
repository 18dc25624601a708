"""Which subject of a dataset is for training, validation and test: stored, by subject, the same for all networks.

The benchmark can keep to the test subjects, so that trained and untrained methods are compared on the same images.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any, Protocol, TypeVar

from samreg.errors import ConfigError

__all__ = ["Pair", "Split", "only_test", "split_subjects", "stored_split", "subjects_of"]

Split = dict[str, list[str]]
"""`train`, `validation`, `test` -> subjects, no subject in two of them."""


class Pair(Protocol):
    """What a split needs to know of a pair of images."""

    @property
    def id(self) -> str:
        """Name of the pair, and of the subject if both images show the same one."""
        ...

    @property
    def fixed(self) -> Path:
        """The fixed image."""
        ...

    @property
    def moving(self) -> Path:
        """The moving image."""
        ...

    @property
    def intra_subject(self) -> bool:
        """Whether both images show the same subject."""
        ...


P = TypeVar("P", bound=Pair)


def subjects_of(pair: Pair) -> tuple[str, str]:
    """The subject of the fixed and of the moving image; between subjects, the file's name up to its first dot."""
    if pair.intra_subject:
        return pair.id, pair.id
    return pair.fixed.name.partition(".")[0], pair.moving.name.partition(".")[0]


def only_test(pairs: Sequence[P], dataset: str) -> list[P]:
    """The pairs whose two subjects are both in the test part of the dataset's stored split.

    Raises:
        ConfigError: if no split is stored for the dataset, or none of these pairs is in its test part.
    """
    stored = stored_split(dataset)
    if stored is None:
        raise ConfigError(f"no split is stored for the dataset {dataset!r}: leave the split at all")
    kept = [pair for pair in pairs if set(subjects_of(pair)) <= set(stored["test"])]
    if not kept:
        raise ConfigError(f"none of these {len(pairs)} pairs is in the test part of {dataset}'s stored split")
    return kept


def stored_split(dataset: str) -> dict[str, Any] | None:
    """The split that ships with samreg for a dataset, or None.

    It names the subjects of `validation` and `test`; every other subject is for training.
    """
    resource = files(__name__).joinpath(f"{dataset}.json")
    if not resource.is_file():
        return None
    content: dict[str, Any] = json.loads(resource.read_text(encoding="utf-8"))
    return content


def split_subjects(
    subjects: Sequence[str], *, dataset: str = "", n_test: int = 10, n_validation: int = 3, seed: int = 0
) -> Split:
    """Train, validation and test subjects.

    The stored split of the dataset where it names any of these subjects; otherwise drawn by `seed` from the sorted
    subjects, so that it does not depend on the order in which they come.

    Args:
        subjects: names; repeated names are one subject.
        dataset: name of the dataset.
        n_test: subjects for the test, where nothing is stored.
        n_validation: subjects for validation, where nothing is stored.
        seed: of the draw.

    Raises:
        ConfigError: if no subject is left for training, validation or test.
    """
    known = sorted(set(subjects))
    stored = stored_split(dataset)
    if stored and set(stored["test"]) & set(known):
        test = [s for s in known if s in set(stored["test"])]
        validation = [s for s in known if s in set(stored["validation"])]
    else:
        order = known.copy()
        random.Random(seed).shuffle(order)  # noqa: S311 (a split, not a secret)
        test, validation = sorted(order[:n_test]), sorted(order[n_test : n_test + n_validation])
    train = [s for s in known if s not in {*test, *validation}]
    if not (train and validation and test):
        raise ConfigError(
            f"{len(known)} subjects leave {len(train)} for training, {len(validation)} for validation and {len(test)} "
            "for the test; each needs at least one: give more subjects or set n_test and n_validation"
        )
    return {"train": train, "validation": validation, "test": test}
