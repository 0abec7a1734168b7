"""What a student promises of effects: how many of the largest it finds, and how near it is to the ensemble."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import one_line, random_dna, toy_checkpoint, yeast_contract

from legscore.distill.cascade_recall import SHARES, recall_curve
from legscore.distill.conformal import conformal_quantile, interval_table
from legscore.distill.options import DistillOptions
from legscore.distill.student_figures import promises
from legscore.distill.teacher_table import read_teacher
from legscore.dna.codes import encode_text
from legscore.errors import ModelError
from legscore.model.student import expected_recall, half_widths, sealed_student, student_record


def effects(rng: np.random.Generator, tiles: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A student whose errors grow with the effect, and more on some tiles than on others."""
    tile_N = np.repeat(np.arange(tiles), rows)
    ours = rng.standard_t(3, len(tile_N)) * 0.3
    error = rng.normal(size=len(tile_N)) * (0.05 + 0.1 * np.abs(ours)) * rng.gamma(4, 0.25, tiles)[tile_N]
    return ours, ours + error, tile_N


def test_recall_is_counted_as_one_would() -> None:
    rng = np.random.default_rng(1)
    ours, theirs, tile_N = effects(rng, 100, 20)
    curve = recall_curve(ours, theirs, tile_N)
    assert (curve["effects"], curve["tiles"]) == (2_000, 100)
    wanted = set(np.argsort(-np.abs(theirs))[:20])
    for share, recall, low, high in curve["recall"]:
        mine = set(np.argsort(-np.abs(ours))[: int(np.ceil(share * 2_000 - 1e-9))])
        assert recall == pytest.approx(len(wanted & mine) / 20, abs=1e-4)
        assert 0 <= low <= recall + 0.05
        assert recall - 0.05 <= high <= 1
    assert [line[0] for line in curve["recall"]] == list(SHARES)
    assert recall_curve(theirs, theirs, tile_N)["recall"][5] == [0.01, 1.0, 1.0, 1.0]


def test_intervals_hold_what_they_promise_on_other_tiles() -> None:
    """Over many draws of tiles: 90 % of a further tile's rows, in every bin, and not many more."""
    rng = np.random.default_rng(2)
    held: list[np.ndarray] = []
    for _ in range(20):
        ours, theirs, tile_N = effects(rng, 400, 10)
        fitted, other = tile_N < 200, tile_N >= 200
        record = {"intervals": interval_table(ours[fitted], theirs[fitted], tile_N[fitted])}
        widths = half_widths(record, ours[other])
        assert widths is not None
        inside = np.abs(ours - theirs)[other] <= widths
        small = np.abs(ours[other]) < np.median(np.abs(ours))
        held.append(np.array([inside.mean(), inside[small].mean(), inside[~small].mean()]))
        lows = [line[0] for line in record["intervals"]["bins"]]
        assert lows[0] == 0
        assert len(lows) > 4
    assert np.abs(np.mean(held, axis=0) - 0.9).max() < 0.015


def test_a_conformal_quantile_counts_the_tile_to_come() -> None:
    distance, alone = np.arange(1.0, 20.0), np.arange(19)
    assert conformal_quantile(distance, alone, 0.9) == 18  # 18 of 20, one of them still to come
    assert conformal_quantile(distance[:8], alone[:8], 0.9) is None  # 8 of 9 are too few
    assert (
        conformal_quantile(distance, np.repeat(alone[:1], 19), 0.4) == 16
    )  # one tile of two: 0.5 in 19 steps
    assert (
        half_widths({"intervals": {"bins": [[0.0, 0.5], [2.0, None]]}}, np.array([-1, 3, np.nan])).tolist()[  # type: ignore[union-attr]
            0
        ]
        == 0.5
    )


def student(**more: Any) -> dict[str, Any] | None:
    figures = dict.fromkeys(("pearson", "spearman", "rmse", "slope", "worst_decile_rmse"), None)
    fidelity = {"groups": 9, "levels": figures, "effects": figures, "baselines": []}
    record = {"teacher": [{"name": "a"}], "cost": 20.0, "fidelity": fidelity, **more}
    return student_record(sealed_student(toy_checkpoint(1, yeast_contract().cropped(80, 8)), record))


def test_what_is_expected_between_shares_and_of_students_that_say_nothing() -> None:
    curve = {"top": 0.01, "effects": 9, "tiles": 3, "recall": [[0.1, 0.8, 0.6, 0.9], [0.5, 1.0, 1.0, 1.0]]}
    record = student(cascade=curve)
    assert record is not None
    assert expected_recall(record, 0.3) == pytest.approx((0.9, 0.8, 0.95))
    assert expected_recall(record, 0.05) == pytest.approx((0.4, 0.3, 0.45))
    assert expected_recall(record, 0) == (0, 0, 0)
    assert expected_recall(record, 1) == (1, 1, 1)
    assert half_widths(record, np.zeros(2)) is None
    assert expected_recall(student() or {}, 0.1) is None


@pytest.mark.parametrize(
    "broken",
    [
        {"cascade": {"tiles": 3, "recall": []}},
        {"cascade": {"tiles": 3, "recall": [[0.1, 0.8, 0.6]]}},
        {"cascade": {"tiles": 3, "recall": [[0.5, 1, 1, 1], [0.1, 1, 1, 1]]}},
        {"intervals": {"tiles": "3", "coverage": 0.9, "bins": [[0.0, 0.5]]}},
        {"intervals": {"tiles": 3, "coverage": 0.9, "bins": [[0.0, "0.5"]]}},
        {"intervals": {"tiles": 3, "coverage": 0.9, "bins": [[0.1, 0.5]]}},
        {"intervals": {"tiles": 3, "bins": [[0.0, 0.5]]}},
    ],
)
def test_promises_that_cannot_be_read_are_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="its record of a distillation is not one; distill it again"):
        student(**broken)


def test_a_run_writes_the_intervals_of_its_student(tmp_path: Path, cli: Any) -> None:
    rng = np.random.default_rng(3)
    bins = [[0.0, 0.25], [0.02, 0.5], [0.04, None]]
    figures = dict.fromkeys(("pearson", "spearman", "rmse", "slope", "worst_decile_rmse"), None)
    record: dict[str, Any] = {
        "teacher": [{"name": "a"}], "cost": 20.0,
        "fidelity": {"groups": 9, "levels": figures, "effects": figures, "baselines": []},
    }  # fmt: skip
    plain = toy_checkpoint(1, yeast_contract().cropped(80, 8))
    head = {"head.conv.weight": plain.arrays["head.conv.weight"] * 5}  # effects that lie in every bin
    plain = replace(plain, arrays={**plain.arrays, **head})
    known = {**record, "intervals": {"coverage": 0.9, "effects": 9, "tiles": 3, "bins": bins}}
    sealed_student(plain, known).save(tmp_path / "s.safetensors")
    sealed_student(plain, record).save(tmp_path / "older.safetensors")
    toy_checkpoint(2).save(tmp_path / "m.safetensors")
    lines = ["sequence,offset,alt_base"]
    for text in (random_dna(rng, 80) for _ in range(100)):
        lines += [f"{text},{k},{'A' if text[k] != 'A' else 'C'}" for k in (20, 60)]
    (tmp_path / "e.csv").write_text("\n".join([*lines, f"{'ACGT' * 20},99,A"]) + "\n")
    (tmp_path / "q.csv").write_text("\n".join(["sequence", "ACGT" * 20]) + "\n")

    def run(student: str, calibration: str, table: str = "e.csv") -> Any:
        given = ("-m", tmp_path / student, "--calibration", tmp_path / calibration)
        return cli("run", tmp_path / table, *given, "-o", tmp_path / "o.parquet", "--engine", "openvino")

    ran = run("s.safetensors", "s.safetensors")
    assert ran.code == 0, ran.err
    assert "intervals: hold the ensemble's effect in 90% of rows" in ran.err
    rows = pq.read_table(tmp_path / "o.parquet").to_pylist()
    halves = set()
    for row in rows:
        if row["effect"] is None:
            assert row["status"] == "edge"
            assert row["effect_low"] is None
            continue
        half = next(half for low, half in reversed(bins) if abs(row["effect"]) >= low)  # type: ignore[operator]
        halves.add(half)
        if half is None:
            assert row["effect_low"] is None
            assert row["effect_high"] is None
        else:
            assert row["effect_low"] == pytest.approx(row["effect"] - half, abs=1e-5)
            assert row["effect_high"] == pytest.approx(row["effect"] + half, abs=1e-5)
    assert halves == {0.25, 0.5, None}
    (tmp_path / "o.parquet").unlink()
    one_line(run("s.safetensors", "m.safetensors"), "m.safetensors: not a student")
    one_line(run("s.safetensors", "gone.safetensors"), "gone.safetensors", "No such file")
    one_line(run("m.safetensors", "s.safetensors"), "its intervals are of its own effects; name it with -m")
    one_line(run("older.safetensors", "older.safetensors"), "holds no intervals; distill it again")
    one_line(run("s.safetensors", "s.safetensors", "q.csv"), "these rows are single sequences")


@pytest.mark.parametrize("changes", [200, 4])
def test_changes_of_one_promoter_are_one_tile_of_a_table(tmp_path: Path, changes: int) -> None:
    """Every change of the held-out promoters counts, once, and a promoter as one tile."""
    rng = np.random.default_rng(4)
    lines, contract = ["ref_sequence,alt_sequence,ref_score,alt_score"], yeast_contract()
    of_ref: dict[str, set[str]] = {}
    for ref in (random_dna(rng, 80) for _ in range(2_400 // changes)):
        for k in rng.permutation(240)[:changes]:
            other = "ACGT".replace(ref[k // 3], "")[k % 3]
            alt = ref[: k // 3] + other + ref[k // 3 + 1 :]
            lines.append(f"{ref},{alt},5,{5 + len(lines) / 1e4}")
            of_ref.setdefault(ref, set()).add(alt)
    (tmp_path / "t.csv").write_text("\n".join(lines) + "\n")
    said: list[str] = []
    options = DistillOptions(labels=3_000)
    table = read_teacher(str(tmp_path / "t.csv"), contract, 80, options, said.append)
    (check,) = table.material.checks
    (labels_N,) = table.material.parted(table.labels_MN)[2]
    assert check.ref_E is not None
    held: dict[bytes, set[bytes]] = {}
    for ref, alt in zip(check.inserts_NL[check.ref_E], check.inserts_NL[check.alt_E], strict=True):
        held.setdefault(bytes(ref), set()).add(bytes(alt))
    assert len(check.alt_E) == sum(map(len, held.values())) == changes * len(held)
    written = {bytes(encode_text(ref)): {bytes(encode_text(a)) for a in alts} for ref, alts in of_ref.items()}
    assert all(written[ref] == alts for ref, alts in held.items())
    row_of = {tuple(line.split(",")[:2]): float(line.split(",")[3]) for line in lines[1:]}
    scores = {bytes(encode_text(r)) + bytes(encode_text(a)): score for (r, a), score in row_of.items()}
    both = np.concatenate([check.inserts_NL[check.ref_E], check.inserts_NL[check.alt_E]], axis=1)
    assert labels_N[check.alt_E] == pytest.approx([scores[bytes(row)] for row in both])
    assert (labels_N[check.ref_E] == 5).all()
    promised = promises(table.material.checks, [labels_N], [labels_N])
    for part in promised.values():
        assert (part["tiles"], part["effects"]) == (len(held), changes * len(held))
    assert f"({changes * len(held):,} changes of {len(held):,} references)" in said[-1]
    assert len(np.unique(check.window_tiles)) == len(held)
