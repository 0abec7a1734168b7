"""What bench/distill.py judges students on: tables of public data, made once, and figures of their scores."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from legscore.distill.cascade_recall import TOP
from legscore.model.checkpoint import Checkpoint
from legscore.model.student import expected_recall, half_widths, student_record
from legscore.system.rank_order import correlation, ranks

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "examples"))
from make_student import checks, saturated

OWN_SHARE = 0.1
RESAMPLES = 1_000


def make_tables(data: Path, folder: Path, tiles: int) -> dict[str, Path]:
    """Promoters' changes, native variants, a tenth of the rows of both, and changes of genomic tiles."""
    found = dict(zip(("promoters", "native"), checks(data, folder), strict=True))
    found["tiles"], found["own"] = folder / f"tiles{tiles}.parquet", folder / "own.parquet"
    if not found["tiles"].exists():
        table = pq.read_table(data / "native_tiles_genome.parquet", columns=["sequence"])
        texts = [_insert(text) for text in table["sequence"].to_pylist()]
        inserts = [text for text in texts if len(text) == 80 and set(text) <= set("ACGT")]
        chosen = np.random.default_rng(23).permutation(len(inserts))[:tiles]
        made = saturated([inserts[i] for i in chosen], [f"tile{i}" for i in chosen])
        pq.write_table(made, found["tiles"])
    if not found["own"].exists():
        pq.write_table(_own(found["promoters"], found["native"]), found["own"])
    return found


def _own(promoters: Path, native: Path) -> pa.Table:
    """A tenth of the rows of both, each with its number there."""
    rows: dict[str, list[Any]] = {"table": [], "row": [], "ref_sequence": [], "alt_sequence": []}
    for name, path in (("promoters", promoters), ("native", native)):
        table = pq.read_table(path)
        ref, alt = (inserts(table, column) for column in ("ref", "alt"))
        chosen = np.random.default_rng(29).random(len(ref)) < OWN_SHARE
        for row in np.flatnonzero(chosen):
            rows["table"].append(name)
            rows["row"].append(int(row))
            rows["ref_sequence"].append(ref[row])
            rows["alt_sequence"].append(alt[row])
    return pa.table(rows)


def inserts(table: pa.Table, which: str) -> list[str]:
    """Inserts of a table's sequences."""
    name = next(name for name in (f"{which}_sequence", f"{which}_seq") if name in table.column_names)
    return [_insert(text) for text in table[name].to_pylist()]


def _insert(text: str) -> str:
    """The 80 bases between an oligo's adapters of 17 and 13, or the sequence as it is."""
    return text[17:-13] if len(text) == 110 else text


def effects(path: Path) -> dict[str, np.ndarray]:
    """Scores of a run: level (of both alleles), effect, and which rows have one."""
    table = pq.read_table(path, columns=["ref_score", "alt_score", "effect", "status"])
    usable = table["status"].to_numpy() == "ok"
    ref, alt, effect = (
        table[name].to_numpy().astype(np.float64) for name in ("ref_score", "alt_score", "effect")
    )
    return {"ref": ref, "alt": alt, "effect": effect, "usable": usable}


def agreement(
    ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], rows: np.ndarray
) -> dict[str, float]:
    """Figures of some rows: Pearson, Spearman and RMSE of effects, Pearson of levels."""
    mine, true = ours["effect"][rows], theirs["effect"][rows]
    levels = [np.concatenate([one["ref"][rows], one["alt"][rows]]) for one in (ours, theirs)]
    return {
        "rows": int(np.count_nonzero(rows)),
        "effects_pearson": correlation(mine, true),
        "effects_spearman": correlation(ranks(mine), ranks(true)),
        "effects_rmse": float(np.sqrt(((mine - true) ** 2).mean())),
        "levels_pearson": correlation(levels[0], levels[1]),
    }


def coverage(
    student: Checkpoint, mine: np.ndarray, true: np.ndarray, tile_N: np.ndarray
) -> dict[str, float | int]:
    """Share of effects inside the student's intervals, with a 95 % bootstrap interval over tiles."""
    record = student_record(student)
    assert record is not None
    widths = half_widths(record, mine)
    assert widths is not None
    inside_N = np.where(np.isfinite(widths), np.abs(mine - true) <= widths, True)
    low, high = _over_tiles(tile_N, lambda times: float((times * inside_N).sum() / times.sum()))
    return {
        "tiles": len(np.unique(tile_N)),
        "rows": len(mine),
        "without_width": int(np.count_nonzero(~np.isfinite(widths))),
        "coverage": float(inside_N.mean()),
        "low": low,
        "high": high,
    }


def found_at(
    student: Checkpoint, mine: np.ndarray, true: np.ndarray, tile_N: np.ndarray, share: float
) -> dict[str, Any]:
    """What of the largest effects a share of the student's ranking finds, beside what its record expects."""
    record = student_record(student)
    assert record is not None
    top, chosen = (int(np.ceil(part * len(mine) - 1e-9)) for part in (TOP, share))
    wanted_N = np.argsort(-np.abs(true), kind="stable")[:top]
    ours_N = np.zeros(len(mine), dtype=bool)
    ours_N[np.argsort(-np.abs(mine), kind="stable")[:chosen]] = True
    found = int(np.count_nonzero(ours_N[wanted_N]))
    expected = expected_recall(record, share)
    return {
        "rows": len(mine),
        "tiles": len(np.unique(tile_N)),
        "top": top,
        "rescored": chosen,
        "found": found,
        "share_found": found / top,
        "expected": None if expected is None else list(expected),
    }


def _over_tiles(tile_N: np.ndarray, figure: Callable[[np.ndarray], float]) -> tuple[float, float]:
    """95 % interval of a figure of rows that count so many times: tiles drawn again."""
    _, tile_N = np.unique(tile_N, return_inverse=True)
    tiles = int(tile_N.max()) + 1
    rng = np.random.default_rng(31)
    drawn = [
        figure(rng.multinomial(tiles, np.full(tiles, 1 / tiles))[tile_N].astype(np.float64))
        for _ in range(RESAMPLES)
    ]
    low, high = np.quantile(drawn, (0.025, 0.975))
    return float(low), float(high)
