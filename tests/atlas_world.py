"""A small genome with tiles, its atlases, and scores that tell windows apart: what the tests of atlases share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import opened_by, random_dna
from test_option_pairs import Telling

from legscore.dna.batch import Batch

TILES = [
    ("I", 100, 180, "a", "+"), ("I", 140, 220, "b", "-"), ("I", 175, 255, "c", "+"), ("I", 400, 480, "n", "+"),
    ("I", 860, 940, "edge", "+"), ("II", 0, 80, "start", "-"), ("II", 300, 380, "d", "+"), ("II", 520, 600, "end", "+"),
]  # fmt: skip


def dna() -> dict[str, str]:
    """Two contigs with runs of equal bases, and N's in the tile `n` and at a tile's end."""
    rng = np.random.default_rng(11)
    one, two = list(random_dna(rng, 900)), list(random_dna(rng, 600))
    one[110:118], one[176:184], two[0:3], two[377:384] = "AAAAAAAA", "CCCCCCCC", "GGG", "TTTTTTT"
    one[430:434], one[222] = "NNNN", "N"
    return {"I": "".join(one), "II": "".join(two)}


def write_world(folder: Path) -> Path:
    """g.fa, t.bed."""
    (folder / "g.fa").write_text("".join(f">{name}\n{text}\n" for name, text in dna().items()))
    (folder / "t.bed").write_text("".join(f"{c}\t{s}\t{e}\t{n}\t0\t{x}\n" for c, s, e, n, x in TILES))
    return folder


class Steady(Telling):
    """Scores that are the same whatever else is scored beside a window."""

    def _score(self, batch: Batch, members: list[int], both: bool, tell: Any) -> np.ndarray:
        codes_WL = batch.expand().astype(np.float64)
        own = 0.1 * self._request.is_singleton + 0.01 * self._request.both_strands
        weights = [np.sin(np.arange(codes_WL.shape[1]) * (m + 1.3)) / 9 for m in members]
        return np.stack([(codes_WL * of).sum(axis=1) + own for of in weights]).astype(np.float32)


def telling(patch: pytest.MonkeyPatch) -> None:
    """Scores come from a stand-in that tells windows, members and precisions apart."""

    def opener(members: Any, request: Any, say: Any) -> Steady:
        return Steady(members, request)

    opened_by(patch, opener)
    patch.setattr("legscore.atlas.misses.open_engine", opener)


def small_stretches(patch: pytest.MonkeyPatch, bases: int = 150) -> None:
    patch.setattr("legscore.atlas.contents.STRETCH_BASES", bases)


def alleles(n: int, seed: int = 0) -> list[tuple[str, int, str, str]]:
    """CHROM, POS, REF, ALT of random alleles of every kind, in and beside the tiles, in no order; contigs as
    `chr` calls them."""
    rng, genome, rows = np.random.default_rng(seed), dna(), []
    for _ in range(n):
        name = ("I", "II")[rng.integers(2)]
        text = genome[name]
        start, kind = int(rng.integers(0, len(text) - 8)), rng.integers(12)
        length = 1 if kind < 8 else int(rng.integers(1, 5))
        ref, alt = text[start : start + length], random_dna(rng, 1 if kind < 6 else int(rng.integers(1, 4)))
        if kind == 6:  # a deletion or an insertion of one base, from the base before it
            ref, alt = text[start : start + 2], text[start]
        elif kind == 7:
            ref, alt = text[start], text[start] + alt[0]
        elif kind == 10:
            ref = random_dna(rng, 1)
        elif kind == 11:
            alt = ("<DEL>", "*", "N", ref, "ACGX", ".", "c", "A,T", "NNA")[rng.integers(9)]
        rows.append((f"chr{name}", start + 1, ref, alt))
    return rows


def write_vcf(path: Path, rows: Sequence[tuple[str, int, str, str]], header: str = "") -> Path:
    body = "".join(f"{c}\t{p}\tv{i}\t{r}\t{a}\t.\t.\t.\n" for i, (c, p, r, a) in enumerate(rows))
    path.write_text(f"##fileformat=VCFv4.2\n{header}#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n{body}")
    return path


def score_tables(atlas: Path) -> pa.Table:
    """All changes of an atlas, in the order of its files."""
    return pa.concat_tables([pq.read_table(path) for path in sorted((atlas / "scores").iterdir())])


def content(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
