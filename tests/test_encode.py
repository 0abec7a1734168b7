"""One-hot channels and batches against their obvious twins."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from conftest import human_contract, yeast_contract
from hypothesis import given, settings
from hypothesis import strategies as st

from legscore.dna.batch import Batch
from legscore.dna.codes import encode_text, text_to_codes
from legscore.dna.contract import Contract
from legscore.dna.folds import folds_as_given
from legscore.dna.one_hot import strands


def slow_one_hot(codes: np.ndarray, contract: Contract, reverse: bool, singleton: bool) -> np.ndarray:
    """[channels, L] of one window, letter by letter; bases always A,G,C,T."""
    columns = []
    for code in 3 - codes[::-1].astype(int) if reverse else codes.astype(int):
        code = 4 if code == -1 else code
        bases = [contract.n_value] * 4 if code == 4 else [float(code == i) for i in range(4)]
        extra = {"is_reverse": float(reverse), "is_singleton": float(singleton)}
        columns.append(bases + [extra[name] for name in contract.extras])
    return np.array(columns, dtype=np.float32).T


@pytest.mark.parametrize(
    "contract",
    [yeast_contract(), yeast_contract(n_value=0.0), human_contract()],
    ids=["yeast", "zero", "human"],
)
@pytest.mark.parametrize("both", [True, False])
def test_strands_equal_the_slow_twin(contract: Contract, both: bool) -> None:
    codes = np.random.default_rng(0).integers(0, 5, (7, contract.length), dtype=np.uint8)
    x = strands(codes, contract, both=both, is_singleton=True, rows=20)
    for i in range(7):
        assert (x[i] == slow_one_hot(codes[i], contract, False, True)).all()
        if both:
            assert (x[7 + i] == slow_one_hot(codes[i], contract, True, True)).all()
    assert (x[14 if both else 7 :] == 0).all()
    assert x.shape == (20, len(contract.channels), contract.length)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 6), st.integers(0, 12), st.integers(0, 20), st.integers(0, 20), st.integers(0, 9999))
def test_expand_equals_editing_one_by_one(windows: int, edits: int, start: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    codes = rng.integers(0, 5, (windows, 9), dtype=np.uint8)
    batch = Batch(
        codes,
        rng.integers(0, windows, edits).astype(np.int32),
        rng.integers(0, 9, edits).astype(np.int16),
        rng.integers(0, 4, edits).astype(np.uint8),
    )
    every = [row.copy() for row in codes]
    for window, offset, base in zip(batch.window_E, batch.offset_E, batch.base_E, strict=True):
        changed = codes[window].copy()
        changed[offset] = base
        every.append(changed)
    before = codes.copy()
    start = min(start, batch.n_windows)
    assert (
        batch.expand(start, start + size)
        == np.array(every, dtype=np.uint8).reshape(-1, 9)[start : start + size]
    ).all()
    assert batch.expand().shape == (windows + edits, 9)
    assert (codes == before).all()


def test_folds_stay_as_published() -> None:
    """Hashes of MurmurHash3 x86 32-bit with seed 42, as known numbers: a fold that moved would let members score
    what they trained on."""
    known = {
        "A": 511002647,
        "ACGT": 142391878,
        "ACGTN": 2653982007,
        "ACGT" * 20: 994633079,
        "TGCATTTTTTTCACATC" + "GATTACA" * 11 + "GGTTACGGCTGTT": 346462241,
    }
    sequences = text_to_codes(pa.array([*known, "acgt"], pa.large_string()))
    folds = folds_as_given(sequences, np.arange(len(known) + 1), 10)
    assert folds.tolist() == [number % 10 for number in [*known.values(), known["ACGT"]]]
    trimmed = folds_as_given(sequences, np.array([3]), 10, trim5=40, trim3=36)
    padded = folds_as_given(sequences, np.array([0]), 10, after="CGT")
    assert trimmed.tolist() == padded.tolist() == [known["ACGT"] % 10]


@pytest.mark.parametrize("expected", ["", "A", "AC", "ACGTA"])
def test_what_sequences_carry(expected: str) -> None:
    rng = np.random.default_rng(len(expected))
    texts = ["".join(rng.choice(list("ACGT"), size=8)) for _ in range(2000)] + ["ACGTACGT"] * 50
    sequences = text_to_codes(pa.array(texts))
    rows = np.sort(rng.choice(len(texts), size=900, replace=False))
    skips = rng.integers(0, 8 - len(expected) + 1, len(rows))
    for skip in (0, 2, skips):
        found = sequences.matches(rows, skip, encode_text(expected))
        slow = [
            texts[row].startswith(expected, at)
            for row, at in zip(rows, np.resize(skip, len(rows)), strict=True)
        ]
        assert found.tolist() == slow
    assert sequences.matches(rows[:0], skips[:0], encode_text(expected)).tolist() == []
