"""Prototypes to pairs: similarity, one-to-one assignment, geometric verification."""

from __future__ import annotations

from typing import Literal

import numpy as np

from samreg.config import MatchConfig
from samreg.types import Prototypes, Similarity

__all__ = ["assign", "best_pairs", "cosine_similarity"]


def cosine_similarity(fixed: Prototypes, moving: Prototypes) -> Similarity:
    """s_ij = p_i . q_j / (|p_i| |q_j|) (paper, section 3).

    Args:
        fixed: (n_fixed, c).
        moving: (n_moving, c).

    Returns:
        (n_fixed, n_moving) in [-1, 1]; 0 for a prototype of length 0.
    """
    p, q = np.asarray(fixed, dtype=np.float32), np.asarray(moving, dtype=np.float32)
    p = p / np.maximum(np.linalg.norm(p, axis=1, keepdims=True), 1e-12)
    q = q / np.maximum(np.linalg.norm(q, axis=1, keepdims=True), 1e-12)
    result: Similarity = np.clip(p @ q.T, -1.0, 1.0)
    return result


def assign(similarity: Similarity, epsilon: float, method: Literal["greedy", "mutual"] = "greedy") -> np.ndarray:
    """One-to-one pairs with similarity of at least epsilon.

    Args:
        similarity: (n_fixed, n_moving).
        epsilon: the paper's threshold.
        method: `greedy` takes the most similar pair, strikes its row and column, and goes on (the paper);
            `mutual` keeps pairs that are each other's most similar.

    Returns:
        (k, 2) rows and columns, most similar first.
    """
    table = np.asarray(similarity, dtype=np.float64)
    if table.size == 0:
        return np.zeros((0, 2), dtype=np.int64)
    if method == "mutual":
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
