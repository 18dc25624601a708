"""Similarities to pairs: one-to-one assignment."""

from __future__ import annotations

from typing import Literal

import numpy as np

from samreg.config import MatchConfig
from samreg.types import Similarity

__all__ = ["assign", "best_pairs"]


def assign(
    similarity: Similarity, epsilon: float, method: Literal["prompted", "mutual", "greedy"] = "greedy"
) -> np.ndarray:
    """One-to-one pairs with similarity of at least epsilon.

    Args:
        similarity: (n_fixed, n_moving).
        epsilon: the paper's threshold.
        method: `greedy` takes the most similar pair, strikes its row and column, and goes on (the paper);
            `mutual` and `prompted` keep pairs that are each other's most similar.

    Returns:
        (k, 2) rows and columns, most similar first.
    """
    table = np.asarray(similarity, dtype=np.float64)
    if table.size == 0:
        return np.zeros((0, 2), dtype=np.int64)
    if method != "greedy":
        rows = np.arange(len(table))
        columns = table.argmax(axis=1)
        keep = table.argmax(axis=0)[columns] == rows
        pairs = np.stack([rows[keep], columns[keep]], axis=1)
    else:
        pairs = _greedy(table, epsilon)
    values = table[pairs[:, 0], pairs[:, 1]]
    pairs = pairs[values >= epsilon]
    order = np.argsort(-table[pairs[:, 0], pairs[:, 1]], kind="stable")
    result: np.ndarray = pairs[order].astype(np.int64)
    return result


def _greedy(table: np.ndarray, epsilon: float) -> np.ndarray:
    order = np.argsort(-table, axis=None, kind="stable")
    used_rows, used_columns, pairs = set(), set(), []
    for flat in order:
        i, j = divmod(int(flat), table.shape[1])
        if table[i, j] < epsilon:
            break
        if i not in used_rows and j not in used_columns:
            used_rows.add(i)
            used_columns.add(j)
            pairs.append((i, j))
    return np.asarray(pairs, dtype=np.int64).reshape(-1, 2)


def best_pairs(similarity: Similarity, config: MatchConfig) -> np.ndarray:
    """Pairs by the configured method, the K best where `max_pairs` is set; (k, 2), most similar first."""
    pairs = assign(similarity, config.epsilon, config.method)
    return pairs[: config.max_pairs] if config.max_pairs else pairs
