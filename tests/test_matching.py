"""Similarity and assignment, against brute force."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from samreg.config import MatchConfig, known_assignments
from samreg.pairs.assignment import assign, best_pairs
from samreg.regions.prototypes import cosine_similarity

METHODS = known_assignments()


def tables(levels: int = 1000) -> st.SearchStrategy[np.ndarray]:
    """Similarity tables with values on a lattice, so that ties happen."""
    shape = st.tuples(st.integers(0, 5), st.integers(0, 5))
    return shape.flatmap(lambda s: arrays(np.int64, s, elements=st.integers(-levels, levels))).map(
        lambda a: a.astype(np.float32) / levels
    )


def _greedy(table: np.ndarray, epsilon: float) -> list[tuple[int, int]]:
    """The paper's words as they stand: the largest of what is left, until none reaches epsilon."""
    left, pairs = table.astype(float).copy(), []
    while left.size and left.max() >= epsilon:
        i, j = np.unravel_index(int(left.argmax()), left.shape)
        pairs.append((int(i), int(j)))
        left[i, :] = left[:, j] = -np.inf
    return pairs


@settings(max_examples=150, deadline=None)
@given(table=tables(), epsilon=st.floats(-0.9, 0.9))
def test_greedy_is_what_the_paper_says(table: np.ndarray, epsilon: float) -> None:
    assert [tuple(p) for p in assign(table, epsilon, "greedy")] == _greedy(table, epsilon)


@settings(max_examples=100, deadline=None)
@given(table=tables(4), epsilon=st.sampled_from([-0.5, 0.0, 0.25, 0.5]))
def test_greedy_breaks_ties_by_row_then_column(table: np.ndarray, epsilon: float) -> None:
    assert [tuple(p) for p in assign(table, epsilon, "greedy")] == _greedy(table, epsilon)


@settings(max_examples=100, deadline=None)
@given(table=tables(), epsilon=st.floats(-0.9, 0.9))
def test_mutual_keeps_pairs_that_are_each_others_most_similar(table: np.ndarray, epsilon: float) -> None:
    wanted = {
        (i, j)
        for i, j in np.ndindex(*table.shape)
        if float(table[i, j]) >= epsilon and table[i].argmax() == j and table[:, j].argmax() == i
    }
    assert {(int(i), int(j)) for i, j in assign(table, epsilon, "mutual")} == wanted


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=60, deadline=None)
@given(table=tables(5), epsilon=st.floats(-0.9, 0.9))
def test_pairs_are_one_to_one_above_epsilon_and_fall(method: str, table: np.ndarray, epsilon: float) -> None:
    pairs = assign(table, epsilon, method)  # type: ignore[arg-type]
    assert pairs.shape == (len(pairs), 2)
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    values = table[pairs[:, 0], pairs[:, 1]].astype(float)
    assert (values >= epsilon).all()
    assert (np.diff(values) <= 0).all()


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(1, 6), m=st.integers(1, 6))
def test_exchanging_the_images_exchanges_the_pairs(method: str, seed: int, n: int, m: int) -> None:
    table = np.random.default_rng(seed).uniform(-1, 1, (n, m)).astype(np.float32)
    there = {(int(i), int(j)) for i, j in assign(table, 0.1, method)}  # type: ignore[arg-type]
    back = {(int(i), int(j)) for j, i in assign(table.T, 0.1, method)}  # type: ignore[arg-type]
    assert there == back


def test_a_similarity_of_exactly_epsilon_is_enough() -> None:
    table = np.asarray([[0.5, 0.0], [0.0, 0.49]], dtype=np.float32)
    for method in METHODS:
        assert assign(table, 0.5, method).tolist() == [[0, 0]]


def test_greedy_and_mutual_differ_where_they_must() -> None:
    table = np.asarray([[1.0, 0.9], [0.9, 0.6]], dtype=np.float32)
    assert assign(table, 0.5, "greedy").tolist() == [[0, 0], [1, 1]]
    assert assign(table, 0.5, "mutual").tolist() == [[0, 0]]


def test_the_k_best_pairs() -> None:
    table = np.diag([0.85, 0.99, 0.9]).astype(np.float32)
    assert best_pairs(table, MatchConfig(method="greedy", max_pairs=2)).tolist() == [[1, 1], [2, 2]]
    assert len(best_pairs(table, MatchConfig(method="greedy"))) == 3


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(0, 5), m=st.integers(0, 5), c=st.integers(1, 8))
def test_cosine_is_the_formula(seed: int, n: int, m: int, c: int) -> None:
    rng = np.random.default_rng(seed)
    p, q = rng.normal(size=(n, c)).astype(np.float32), rng.normal(size=(m, c)).astype(np.float32)
    got = cosine_similarity(p, q)
    assert got.shape == (n, m)
    assert got.dtype == np.float32
    for i, j in np.ndindex(n, m):
        a, b = p[i].astype(float), q[j].astype(float)
        lengths = np.linalg.norm(a) * np.linalg.norm(b)
        if lengths > 1e-6:
            assert got[i, j] == pytest.approx(float(a @ b / lengths), abs=2e-4)


def test_cosine_knows_no_length_and_survives_nothing() -> None:
    p = np.asarray([[1.0, 2.0], [0.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(cosine_similarity(p, 1000 * p), [[1, 0], [0, 0]], atol=1e-6)
