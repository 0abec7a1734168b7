"""bench/distill.py's tables and figures, on numbers whose answers are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import REPOSITORY, random_dna, toy_checkpoint, yeast_contract

from legscore.model.student import sealed_student


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(REPOSITORY / "bench")
    return __import__("distill_tables")


def test_tables_hold_changes_and_a_tenth_of_them(tables: Any, tmp_path: Path) -> None:
    rng, contract = np.random.default_rng(1), yeast_contract()
    inserts = [random_dna(rng, 80) for _ in range(5)]
    oligos = [contract.adapter5 + text + contract.adapter3 for text in inserts]
    (tmp_path / "promoters23.tsv").write_text(f"gene\tinsert\nA\t{inserts[0]}\nB\t{inserts[1]}\n")
    changed = [text[:30] + ("A" if text[30] != "A" else "C") + text[31:] for text in oligos]
    native = {"ref_seq": oligos * 20, "alt_seq": changed * 20}
    pq.write_table(pa.table(native), tmp_path / "native_variants_measured.parquet")
    pq.write_table(pa.table({"sequence": oligos}), tmp_path / "native_tiles_genome.parquet")
    made = tables.make_tables(tmp_path, tmp_path, 3)
    promoters = pq.read_table(made["promoters"]).to_pylist()
    assert len(promoters) == 480
    assert all(
        sum(a != b for a, b in zip(row["ref_sequence"], row["alt_sequence"], strict=True)) == 1
        for row in promoters
    )
    assert len({row["alt_sequence"] for row in promoters}) == 480
    assert pq.read_table(made["tiles"]).num_rows == 3 * 240
    own = pq.read_table(made["own"]).to_pylist()
    assert {row["table"] for row in own} == {"promoters", "native"}
    assert 30 < len(own) < 90
    for row in own:
        assert len(row["ref_sequence"]) == len(row["alt_sequence"]) == 80
        if row["table"] == "promoters":
            assert promoters[row["row"]]["alt_sequence"] == row["alt_sequence"]


def test_figures_of_a_student(tables: Any) -> None:
    rng = np.random.default_rng(2)
    true, tile_N = rng.normal(size=1_000), np.repeat(np.arange(50), 20)
    mine = true + rng.uniform(-1, 1, 1_000)
    figures = dict.fromkeys(("pearson", "spearman", "rmse", "slope", "worst_decile_rmse"), None)
    record: dict[str, Any] = {
        "teacher": [{"name": "a"}], "cost": 20.0,
        "fidelity": {"groups": 9, "levels": figures, "effects": figures, "baselines": []},
        "cascade": {"top": 0.01, "effects": 9, "tiles": 3, "recall": [[0.05, 0.9, 0.8, 1.0], [0.5, 1, 1, 1]]},
        "intervals": {"coverage": 0.9, "effects": 9, "tiles": 3, "bins": [[0.0, 0.5], [9.0, None]]},
    }  # fmt: skip
    student = sealed_student(toy_checkpoint(1, yeast_contract().cropped(80, 8)), record)
    covered = tables.coverage(student, mine, true, tile_N)
    assert covered["coverage"] == pytest.approx(np.mean(np.abs(mine - true) <= 0.5))
    assert covered["low"] < covered["coverage"] < covered["high"]
    assert (covered["tiles"], covered["without_width"]) == (50, 0)
    top = tables.found_at(student, mine, true, tile_N, 0.05)
    wanted, chosen = (set(np.argsort(-np.abs(some))[:n]) for some, n in ((true, 10), (mine, 50)))
    assert (top["top"], top["rescored"], top["found"]) == (10, 50, len(wanted & chosen))
    assert top["expected"] == [0.9, 0.8, 1.0]
