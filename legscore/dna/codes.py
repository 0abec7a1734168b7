"""Texts as codes, and distinct rows of codes: the vectorised ground under `legscore.rows.window`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from legscore.dna.contract import CODE_OF_BYTE, INVALID_CODE, N_CODE

if TYPE_CHECKING:  # engines run where pyarrow is not installed
    import pyarrow as pa

MISSING_WORDS = (b"NA", b"NAN", b"NULL", b"NONE", b"N/A", b"<NA>", b"#N/A", b".")
_UPPER = np.frombuffer(bytes(range(256)).upper(), dtype=np.uint8)


@dataclass(frozen=True)
class Sequences:
    """Texts as codes: `flat` uint8 (INVALID_CODE where no base), `start` and `length` int64 [N], `is_null`
    bool [N]; `text`: their letters, one after the other."""

    flat: np.ndarray
    start: np.ndarray
    length: np.ndarray
    is_null: np.ndarray
    text: bytes

    def __len__(self) -> int:
        return len(self.start)

    def gather(self, rows: np.ndarray, skip: np.ndarray | int, width: int) -> np.ndarray:
        """Codes [len(rows), width] that begin `skip` bases into each of `rows`: a view where rows lie evenly
        spaced."""
        begin = self.start[rows] + skip
        n = len(begin)
        if n > 1 and width:
            stride = int(begin[1] - begin[0])
            if (
                stride >= width
                and int(begin[-1] - begin[0]) == (n - 1) * stride
                and (np.diff(begin) == stride).all()
            ):
                return np.lib.stride_tricks.as_strided(
                    self.flat[begin[0] :], (n, width), (stride, 1), writeable=False
                )
        return self.flat[begin[:, None] + np.arange(width)]

    def matches(self, rows: np.ndarray, skip: np.ndarray | int, expected: np.ndarray) -> np.ndarray:
        """bool [len(rows)]: whether the bases `skip` into each row are `expected`, which all of them reach.

        The first base is looked at alone: of sequences that are not made to begin so, it leaves a quarter.
        """
        if not len(expected):
            return np.ones(len(rows), dtype=bool)
        found = self.flat[self.start[rows] + skip] == expected[0]
        left = np.flatnonzero(found)
        at = skip if isinstance(skip, int) else skip[left]
        found[left] = (self.gather(rows[left], at, len(expected)) == expected).all(axis=1)
        return found

    def read_as_missing(self) -> np.ndarray:
        """bool [N]: texts that read as one of MISSING_WORDS, in any case.

        Other tools write them for null, and no insert is one.
        """
        reads = np.zeros(len(self), dtype=bool)
        letters = np.frombuffer(self.text, dtype=np.uint8)
        short = np.flatnonzero(self.length <= max(map(len, MISSING_WORDS)))
        for word in MISSING_WORDS if len(short) else ():
            rows = short[self.length[short] == len(word)]
            found = _UPPER[letters[self.start[rows][:, None] + np.arange(len(word))]]
            reads[rows] |= (found == np.frombuffer(word, dtype=np.uint8)).all(axis=1)
        return reads

    def edited(self, offset_N: np.ndarray, base_N: np.ndarray, where_N: np.ndarray) -> Sequences:
        """The same sequences with one base replaced in each row of `where_N` whose offset lies inside it."""
        rows = np.flatnonzero(where_N & (offset_N >= 0) & (offset_N < self.length))
        flat = self.flat.copy()
        flat[self.start[rows] + offset_N[rows]] = base_N[rows]
        return Sequences(flat, self.start, self.length, self.is_null, self.text)


def text_to_codes(texts: pa.Array, table: np.ndarray = CODE_OF_BYTE) -> Sequences:
    """Arrow strings → Sequences; the buffers are read as they lie, nothing is copied row by row.

    Args:
        table: uint8 [256], what each byte becomes.
    """
    import pyarrow as pa

    texts = texts.cast(pa.large_string()) if not pa.types.is_large_string(texts.type) else texts
    _, offset_buffer, data_buffer = texts.buffers()
    n = len(texts)
    if n == 0 or offset_buffer is None:
        nothing = np.zeros(n, dtype=np.int64)
        return Sequences(np.empty(0, np.uint8), nothing, nothing, np.ones(n, dtype=bool), b"")
    bounds = np.frombuffer(offset_buffer, dtype=np.int64)[texts.offset : texts.offset + n + 1]
    is_null = texts.is_null().to_numpy(zero_copy_only=False)
    text = (
        b""
        if data_buffer is None
        else data_buffer.slice(int(bounds[0]), int(bounds[-1] - bounds[0])).to_pybytes()
    )
    flat = np.frombuffer(text.translate(table.tobytes()), dtype=np.uint8)
    return Sequences(flat, bounds[:-1] - bounds[0], np.diff(bounds), is_null, text)


def encode_text(text: str) -> np.ndarray:
    """uint8 codes of one string."""
    return np.frombuffer(text.encode("ascii").translate(CODE_OF_BYTE.tobytes()), dtype=np.uint8)


_LETTER = np.array([chr(byte).isalpha() and byte < 128 for byte in range(256)], dtype=np.uint8)


def single_bases(texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    """Codes of one-letter texts, uint8 [N] (N where not usable), and why not, uint8 [N]: INVALID_CODE for a
    letter that is no base, 1 for anything that is not one letter (null, empty, longer, symbolic), 0 for
    fine."""
    sequences, letters = text_to_codes(texts), text_to_codes(texts, _LETTER)
    n = len(sequences)
    single = np.flatnonzero((sequences.length == 1) & ~sequences.is_null)
    at = sequences.start[single]
    code, why = np.full(n, N_CODE, dtype=np.uint8), np.ones(n, dtype=np.uint8)
    code[single] = sequences.flat[at]
    why[single] = np.where(
        letters.flat[at] == 0, 1, np.where(sequences.flat[at] == INVALID_CODE, INVALID_CODE, 0)
    )
    code[why != 0] = N_CODE
    return code, why


BLOCK_ROWS = 2048
"""Rows looked at together. Arrays of a block are made once: a new megabyte costs more in page faults than
what is computed."""
_MULTIPLIERS = np.random.default_rng(20221215).integers(1, 1 << 63, size=4096, dtype=np.uint64) | np.uint64(1)


def unique_rows(codes_NL: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rows in order of first appearance.

    Returns:
        first: int64 [distinct], row at which each first appears; inverse: int64 [N], distinct row of each
            row.

    A 64-bit hash finds candidates and equality is then checked, so that a collision cannot merge different
    windows (rows are compared in full should one occur).
    """
    n, length = codes_NL.shape
    if n == 0:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    import pyarrow as pa

    hashed = hash_rows(codes_NL)
    inverse = pa.array(hashed).dictionary_encode().indices.to_numpy(zero_copy_only=False).astype(np.int64)
    first = _first_rows(inverse)
    if len(first) < n and not _equal(codes_NL, first[inverse]):
        rows = np.ascontiguousarray(codes_NL).view(np.dtype((np.void, length))).ravel()
        _, appeared, merged = np.unique(rows, return_index=True, return_inverse=True)
        inverse = np.argsort(np.argsort(appeared))[merged]
        first = _first_rows(inverse)
    return first, inverse


def hash_rows(codes_NL: np.ndarray) -> np.ndarray:
    """64-bit hash of each row, uint64 [N]: words mixed downwards (a product carries only upwards), then a
    random linear form. In blocks, which stay in cache: 4 × faster than at once."""
    n, length = codes_NL.shape
    words = -(-length // 8)
    multipliers = np.resize(_MULTIPLIERS, words)
    hashed = np.empty(n, dtype=np.uint64)
    padded = np.zeros((min(n, BLOCK_ROWS), words * 8), dtype=np.uint8)
    mixed = np.empty((min(n, BLOCK_ROWS), words), dtype=np.uint64)
    for start in range(0, n, BLOCK_ROWS):
        block = codes_NL[start : start + BLOCK_ROWS]
        padded[: len(block), :length] = block
        word_NW, mixed_NW = padded[: len(block)].view(np.uint64), mixed[: len(block)]
        np.right_shift(word_NW, np.uint64(29), out=mixed_NW)
        np.bitwise_xor(word_NW, mixed_NW, out=mixed_NW)
        hashed[start : start + BLOCK_ROWS] = np.einsum("nw,w->n", mixed_NW, multipliers)
    return hashed


def _equal(codes_NL: np.ndarray, other_N: np.ndarray) -> bool:
    """Whether each row equals the row that `other_N` names."""
    return all(
        (codes_NL[other_N[start : start + BLOCK_ROWS]] == codes_NL[start : start + BLOCK_ROWS]).all()
        for start in range(0, len(codes_NL), BLOCK_ROWS)
    )


def _first_rows(inverse: np.ndarray) -> np.ndarray:
    """Row at which each distinct value first appears, for values numbered by first appearance."""
    first = np.empty(int(inverse.max()) + 1, dtype=np.int64)
    first[inverse[::-1]] = np.arange(len(inverse) - 1, -1, -1)
    return first


def count_n(codes_NL: np.ndarray) -> np.ndarray:
    """N's in each row, int32 [N]."""
    counts, unknown = (
        np.zeros(len(codes_NL), dtype=np.int32),
        np.empty((min(len(codes_NL), BLOCK_ROWS), codes_NL.shape[1]), bool),
    )
    for start in range(0, len(codes_NL), BLOCK_ROWS):
        block = codes_NL[start : start + BLOCK_ROWS]
        found = np.equal(block, N_CODE, out=unknown[: len(block)])
        if found.any():
            counts[start : start + BLOCK_ROWS] = found.sum(axis=1, dtype=np.int32)
    return counts
