"""Ensemble statistics against plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from legscore.rows.reduce import reduce_scores
from legscore.rows.schema import OK, STATUS_CODE, STATUSES


def example(members: int, kinds: int, strands: int, rows: int = 9) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(members * 10 + kinds)
    scores = rng.normal(8, 3, (members, 15)).astype(np.float32)
    index = rng.integers(0, 15, (rows, kinds, strands)).astype(np.int32)
    status = np.full(rows, OK, np.uint8)
    status[2] = STATUS_CODE["too_long"]
    index[2] = -1
    return scores, index, status, np.zeros(rows, np.int32)


@pytest.mark.parametrize("members", [1, 2, 5])
@pytest.mark.parametrize("strands", [1, 2])
def test_pairs(members: int, strands: int) -> None:
    scores, index, status, n_count = example(members, 2, strands)
    results = reduce_scores(scores, index, status, n_count, per_model=True)
    for row in range(len(status)):
        if row == 2:
            assert all(np.isnan(column[row]) for column in results.columns.values())
            assert all(np.isnan(column[row]).all() for column in results.per_model.values())
            continue
        ref = [np.mean([float(scores[m, w]) for w in index[row, 0]]) for m in range(members)]
        alt = [np.mean([float(scores[m, w]) for w in index[row, 1]]) for m in range(members)]
        effects = [a - r for a, r in zip(alt, ref, strict=True)]
        assert np.isclose(results.columns["ref_score"][row], np.mean(ref), rtol=1e-6)
        assert np.isclose(results.columns["effect"][row], np.mean(effects), rtol=1e-6, atol=1e-7)
        if members == 1:
            assert np.isnan(results.columns["effect_sd"][row])
        else:
            assert np.isclose(results.columns["effect_sd"][row], np.std(effects, ddof=1), rtol=1e-6)
        assert np.allclose(results.per_model["effect_per_model"][row], effects, rtol=1e-6, atol=1e-7)


def test_paired_sd_is_that_of_effects_not_of_levels() -> None:
    """Members that disagree on levels but agree on the effect have no spread."""
    scores = np.array([[5.0, 6.0], [9.0, 10.0], [1.0, 2.0]], dtype=np.float32)
    results = reduce_scores(
        scores, np.array([[[0], [1]]], np.int32), np.zeros(1, np.uint8), np.zeros(1, np.int32)
    )
    assert results.columns["effect"][0] == 1.0
    assert results.columns["effect_sd"][0] == 0.0


def test_nonfinite_scores_become_a_status() -> None:
    scores, index, status, n_count = example(3, 1, 1)
    scores[1, index[4, 0, 0]] = np.inf
    scores[0, index[7, 0, 0]] = np.nan
    results = reduce_scores(scores, index, status, n_count)
    bad = {row for row in range(9) if row != 2 and index[row, 0, 0] in (index[4, 0, 0], index[7, 0, 0])}
    for row in range(9):
        expected = "too_long" if row == 2 else "nonfinite" if row in bad else "ok"
        assert STATUSES[results.status_N[row]] == expected
        assert np.isnan(results.columns["score"][row]) == (expected != "ok")
    assert status[4] == OK, "the caller's array is left as found"


def test_no_rows_and_no_ok_rows() -> None:
    for rows in (0, 3):
        index, status = np.full((rows, 2, 1), -1, np.int32), np.full(rows, STATUS_CODE["too_short"], np.uint8)
        results = reduce_scores(np.empty((2, 0), np.float32), index, status, np.full(rows, -1, np.int32))
        assert all(len(column) == rows and np.isnan(column).all() for column in results.columns.values())
