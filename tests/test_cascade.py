"""--student and --rescore: a student scores every row, the ensemble those with the largest effects."""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, make_student, one_line, random_dna, scored_by, toy_checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow.csv import write_csv

import legscore
from legscore.dna.batch import Batch
from legscore.engine.null_engine import NullEngine
from legscore.errors import LegscoreError
from legscore.model.checkpoint import load_members
from legscore.output.part_file import Scored
from legscore.output.parts import PartFolder
from legscore.run.calibration import Calibration
from legscore.run.choice import Choice, choose, common_thresholds, sample_share
from legscore.run.rescore import Rescore
from legscore.run.rescore_check import share_found
from legscore.system.checksum import sha256_of
from legscore.variants.scored_vcf import write_table

Cli = Callable[..., Ran]
ROWS, MEMBERS, PART = 90, 3, 16
OTHER = {"A": "C", "C": "A", "G": "T", "T": "G"}


class Coarse(NullEngine):
    """Scores that tell windows and members apart, in steps, so that many rows are tied; without a network."""

    def _score(self, batch: Batch, members: list[int], both: bool, tell: Any) -> np.ndarray:
        codes_WL = batch.expand().astype(np.float32)
        length = codes_WL.shape[1]
        weights = np.sin(np.arange(length, 0, -1, dtype=np.float32)) if length < 110 else None
        return np.stack(
            [
                np.round(codes_WL @ (np.sin(np.arange(length) + m) if weights is None else weights)) / 4
                for m in members
            ]
        ).astype(np.float32)


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    scored_by(monkeypatch, Coarse)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ensemble")
    for seed in range(MEMBERS):
        toy_checkpoint(seed).save(folder / f"m{seed}.safetensors")
    return folder


@pytest.fixture(scope="module")
def student(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_student(models, tmp_path_factory.mktemp("student") / "s.safetensors")


def rows_of(kind: str, path: Path) -> Path:
    """Rows of a kind: some equal, some that no model reads, some that the student alone cannot."""
    rng = np.random.default_rng(5)
    refs = [random_dna(rng, 80) for _ in range(ROWS)]
    refs[7] = refs[8] = refs[6]
    refs[20] = refs[20][:70]  # too short for the student
    alts = [text[:40] + OTHER[text[40]] + text[41:] for text in refs]
    refs[30], alts[31] = None, refs[31]  # type: ignore[call-overload]
    columns: dict[str, Any] = {"id": range(ROWS)}
    if kind == "pairs":
        columns |= {"ref_sequence": refs, "alt_sequence": alts}
    elif kind == "saturation":
        every = [(o, b) for o in range(30) for b in "ACGT" if b != refs[0][o]]
        columns = {
            "sequence": [refs[0]] * len(every),
            "offset": [o for o, _ in every],
            "alt_base": [b for _, b in every],
        }
    else:
        columns |= {"sequence": refs}
    pq.write_table(pa.table(columns), path)
    return path


def abs_effect(row: dict[str, Any]) -> float:
    return abs(row["effect"])


def twin(
    by_student: Path, by_ensemble: Path, chosen: Callable[[list[dict[str, Any]]], set[int]]
) -> list[dict[str, Any]]:
    """Rows of a cascade from rows that both scored."""
    ours, theirs = (pq.read_table(path).to_pylist() for path in (by_student, by_ensemble))
    for place, row in enumerate(ours):
        row["place"] = place
    taken, rows = chosen([row for row in ours if row["status"] == "ok"]), []
    for place, (mine, other) in enumerate(zip(ours, theirs, strict=True)):
        by = "student" if mine["status"] == "ok" and place not in taken else "ensemble"
        row = mine if by == "student" else other
        rows.append(
            {
                **{k: v for k, v in row.items() if k != "place"},
                "scored_by": by if row["status"] == "ok" else None,
            }
        )
    return rows


def largest(count: Callable[[int], int]) -> Callable[[list[dict[str, Any]]], set[int]]:
    def chosen(rows: list[dict[str, Any]]) -> set[int]:
        order = sorted(rows, key=lambda row: (-abs_effect(row), row["place"]))
        return {row["place"] for row in order[: count(len(rows))]}

    return chosen


def above(bound: float) -> Callable[[list[dict[str, Any]]], set[int]]:
    return lambda rows: {row["place"] for row in rows if abs_effect(row) > bound}


@pytest.mark.parametrize("kind", ["pairs", "saturation"])
def test_the_cascade_is_both_scored_and_sorted(
    models: Path, student: Path, coarse: None, cli: Cli, tmp_path: Path, kind: str
) -> None:
    table = rows_of(kind, tmp_path / "in.parquet")
    given = ("--part-rows", PART, "-q")
    assert cli("run", table, "-m", student, "-o", tmp_path / "s.parquet", *given).code == 0
    assert cli("run", table, "-m", models, "-o", tmp_path / "e.parquet", *given).code == 0
    for n, (asked, chosen) in enumerate(
        {
            "5%": largest(lambda n: math.ceil(n / 20)),
            "0.5 %": largest(lambda n: 1),
            "100%": largest(lambda n: n),
            "top:7": largest(lambda n: 7),
            "top:100000": largest(lambda n: n),
            "abs_effect>0.5": above(0.5),
            "abs_effect > 9e9": above(9e9),
        }.items()
    ):
        out = tmp_path / f"{n}.parquet"
        ran = cli("run", table, "-m", models, "--student", student, "--rescore", asked, "-o", out, *given)
        assert ran.code == 0, ran.err
        expected = twin(tmp_path / "s.parquet", tmp_path / "e.parquet", chosen)
        assert pq.read_table(out).to_pylist() == expected
        assert not list(tmp_path.glob("*.parts"))
        record = json.loads(Path(f"{out}.run.json").read_text())["cascade"]
        unread = int(kind == "pairs")
        assert record["chosen_rows"] + unread == sum(row["scored_by"] == "ensemble" for row in expected)


def test_sequences_are_chosen_by_their_score(
    models: Path, student: Path, coarse: None, cli: Cli, tmp_path: Path
) -> None:
    table = rows_of("sequences", tmp_path / "in.parquet")
    assert cli("run", table, "-m", student, "-o", tmp_path / "s.parquet", "-q").code == 0
    assert cli("run", table, "-m", models, "-o", tmp_path / "e.parquet", "-q").code == 0
    middle = float(
        np.nanmedian(pq.read_table(tmp_path / "s.parquet")["score"].to_numpy(zero_copy_only=False))
    )
    for sign, fits in ((">", lambda score: score > middle), ("<", lambda score: score < middle)):
        out = tmp_path / f"o{sign}.parquet"
        ran = cli(
            "run", table, "-m", models, "--student", student, "--rescore", f"score{sign}{middle}", "-o", out
        )
        assert ran.code == 0, ran.err
        found = pq.read_table(out).to_pylist()
        chosen = lambda rows, fits=fits: {row["place"] for row in rows if fits(row["score"])}
        assert found == twin(tmp_path / "s.parquet", tmp_path / "e.parquet", chosen)
        assert 10 < sum(row["scored_by"] == "ensemble" for row in found) < ROWS - 10


def test_variants_of_a_genome(
    models: Path, student: Path, coarse: None, cli: Cli, world: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Into a table and into a VCF; an insertion makes the insert longer than the student reads."""
    monkeypatch.chdir(world)
    given = ("v.vcf", "--fasta", "g.fa", "--promoters", "g.gtf", "--length", 80, "--indel", "construct", "-q")
    assert cli("run", *given, "-m", student, "-o", "s.parquet").code == 0
    assert cli("run", *given, "-m", models, "-o", "e.parquet").code == 0
    cascade = (*given, "-m", models, "--student", student, "--rescore", "top:2")
    ran = cli("run", *cascade, "-o", "o.parquet")
    assert ran.code == 0, ran.err
    found = pq.read_table("o.parquet").to_pylist()
    assert found == twin(world / "s.parquet", world / "e.parquet", largest(lambda n: 2))
    assert {row["scored_by"] for row in found} == {"student", "ensemble", None}
    assert cli("run", *cascade, "-o", "o.vcf").code == 0
    assert write_table(world / "o.vcf", world / "back.parquet") == len(found)
    for row, back in zip(found, pq.read_table("back.parquet").to_pylist(), strict=True):
        assert (row["tile_id"], row["alt"], row["scored_by"]) == (
            back["tile_id"],
            back["alt"],
            back["scored_by"],
        )
        told = None if row["effect"] is None else float(f"{row['effect']:.6g}")
        assert told == back["effect"]
    assert f"##legscore_student={sha256_of(student)}" in Path("o.vcf").read_text()
    centered = ("v.vcf", "--fasta", "g.fa", "--centered", "--context", "genome")
    asked = ("-m", models, "--student", student, "--rescore", "5%", "-o", "p.parquet")
    one_line(cli("run", *centered, *asked), "s is a student and reads inserts of 80 bases")
    assert not list(world.glob("p.parquet*"))


# ranks


def parts_of(values: list[np.ndarray]) -> Callable[[], Any]:
    starts = np.cumsum([0, *map(len, values)])
    return lambda: ((int(start), part) for start, part in zip(starts, values, strict=False))


KEYS = st.lists(
    st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1e-40, 3e38, math.nan]), st.floats(0, 2, width=32)),
    max_size=40,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(KEYS, st.integers(1, 9), st.one_of(st.integers(1, 45), st.decimals("0.1", "100", places=1)))
def test_ranks_are_those_of_a_sort(values: list[float], step: int, asked: int | Decimal) -> None:
    keys = np.array(values, dtype=np.float32)
    parts = [keys[start : start + step] for start in range(0, len(keys), step)]
    rescore = Rescore.parse(f"top:{asked}" if isinstance(asked, int) else f"{asked}%")
    choice = choose(rescore, parts_of(parts), 0.0)
    found = np.concatenate(
        [np.zeros(0, bool), *(choice.chosen(part, start) for start, part in parts_of(parts)())]
    )
    known = np.flatnonzero(np.isfinite(keys))
    wanted = min(asked, len(known)) if isinstance(asked, int) else math.ceil(asked * len(known) / 100)
    order = sorted(known, key=lambda row: (-keys[row], row))
    assert set(np.flatnonzero(found)) == set(order[:wanted])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(KEYS, st.integers(1, 9))
def test_thresholds_take_no_more_than_their_share(values: list[float], step: int) -> None:
    keys = np.array(values, dtype=np.float32)
    parts = [keys[start : start + step] for start in range(0, len(keys), step)]
    known = np.sort(keys[np.isfinite(keys)])[::-1]
    for line in common_thresholds(parts_of(parts)):
        most = math.ceil(Decimal(str(line["share"])) * len(known))
        assert np.float32(line["abs_effect"]) == known[most]
        assert line["rows"] == (known > np.float32(line["abs_effect"])).sum() <= most


def test_a_threshold_that_was_recorded_takes_its_share(
    models: Path, student: Path, coarse: None, cli: Cli, tmp_path: Path
) -> None:
    table = rows_of("saturation", tmp_path / "in.parquet")
    ran = cli("run", table, "-m", student, "-o", tmp_path / "s.parquet", "--part-rows", PART)
    [line] = [
        line
        for line in json.loads((tmp_path / "s.parquet.run.json").read_text())["thresholds"]
        if line["share"] == 0.1
    ]
    assert f"{line['abs_effect']:.4g} (10%)" in ran.err
    asked = f"abs_effect>{line['abs_effect']}"
    ran = cli(
        "run", table, "-m", models, "--student", student, "--rescore", asked, "-o", tmp_path / "o.parquet"
    )
    assert ran.code == 0
    found = pq.read_table(tmp_path / "o.parquet")["scored_by"].to_pylist()
    assert found.count("ensemble") == line["rows"] > 0
    assert "thresholds" not in json.loads((tmp_path / "o.parquet.run.json").read_text())


@pytest.mark.parametrize("ending", ["parquet", "csv"])
def test_shards_of_a_students_run_join_to_its_thresholds(
    student: Path, coarse: None, cli: Cli, tmp_path: Path, ending: str
) -> None:
    table = rows_of("saturation", tmp_path / "in.parquet")
    given = ("run", table, "-m", student, "--part-rows", PART, "-q")
    assert cli(*given, "-o", tmp_path / f"whole.{ending}").code == 0
    n = -(-json.loads((tmp_path / f"whole.{ending}.run.json").read_text())["rows"] // PART) + 1
    shards = [tmp_path / f"{i}.{ending}" for i in range(1, n + 1)]  # more than parts: one has no rows
    for i, shard in enumerate(shards, 1):
        assert cli(*given, "-o", shard, "--shard", f"{i}/{n}").code == 0
    ran = cli("merge", *reversed(shards), "-o", tmp_path / f"joined.{ending}")
    assert ran.code == 0, ran.err
    whole, joined = (
        json.loads((tmp_path / f"{name}.{ending}.run.json").read_text()) for name in ("whole", "joined")
    )
    assert joined["thresholds"] == whole["thresholds"]
    assert len(joined["thresholds"]) > 3


# the check


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), min_size=1, max_size=300))
def test_a_sample_of_all_rows_counts_exactly(rows: list[tuple[int, bool]]) -> None:
    keys = np.array([key for key, _ in rows], dtype=np.float32)
    chosen = np.array([is_chosen for _, is_chosen in rows])
    found = share_found(keys[chosen], keys[~chosen], int((~chosen).sum()))
    order = sorted(range(len(rows)), key=lambda row: (-keys[row], not chosen[row]))
    top = order[: math.ceil(len(rows) / 100)]
    assert found is not None
    assert found[0] == pytest.approx(np.mean(chosen[top]))
    assert found[1] == found[0] == found[2]


@pytest.mark.parametrize("text", ["abs_effect>-0", "abs_effect>-1e-400", "score>-1e-50"])
def test_a_threshold_of_nothing_has_no_sign(text: str) -> None:
    bound = choose(Rescore.parse(text), list, 0.1).to_json()["bound"]
    assert json.dumps(bound) == "0.0"


def test_a_sample_tells_what_was_missed() -> None:
    """Of many samples 95 of 100 intervals hold the truth, more or less; a sample that is too small tells
    nothing."""
    rng = np.random.default_rng(3)
    effects = rng.laplace(0, 1, 100_000).astype(np.float32)
    seen = np.abs(effects + rng.normal(0, 0.9, len(effects)))
    chosen = seen >= np.sort(seen)[-5_000]
    keys = np.abs(effects)
    truth = chosen[np.argsort(-keys)[:1_000]].mean()
    assert 0.8 < truth < 0.99
    held = []
    for _ in range(100):
        sample = rng.random(len(keys)) < 0.04
        found = share_found(keys[chosen], keys[~chosen & sample], int((~chosen).sum()))
        assert found is not None
        assert abs(found[0] - truth) < 0.25
        held.append(found[1] <= truth <= found[2])
    assert np.mean(held) > 0.85
    assert share_found(keys[chosen], keys[~chosen][:50], int((~chosen).sum())) is None
    assert share_found(keys[chosen], keys[:0], int((~chosen).sum())) is None


def test_the_sample_is_drawn_by_row_number() -> None:
    choice = Choice("abs_effect", False, 1.0, -1, 0.1)
    whole = choice.sampled(0, 20_000)
    assert abs(whole.mean() - 0.1) < 0.01
    assert (np.concatenate([choice.sampled(0, 777), choice.sampled(777, 20_000 - 777)]) == whole).all()
    assert not Choice("abs_effect", False, 1.0, -1, 0.0).sampled(0, 1000).any()
    assert Choice("abs_effect", False, 1.0, -1, 1.0).sampled(0, 1000).all()
    usual = [round(rows * sample_share(None, rows)) for rows in (90, 5_000, 50_000, 500_000, 10**8)]
    assert usual == [9, 500, 1_000, 5_000, 10_000]
    assert sample_share(50, 1000) == 0.05
    assert (sample_share(5000, 1000), sample_share(10, 0)) == (1.0, 0.0)


def test_the_sample_changes_no_row(
    models: Path, student: Path, coarse: None, cli: Cli, tmp_path: Path
) -> None:
    table = rows_of("pairs", tmp_path / "in.parquet")
    given = ("run", table, "-m", models, "--student", student, "--rescore", "10%")
    tables, records, said = [], [], []
    for n, sample in enumerate((0, 40, 1_000)):
        out = tmp_path / f"{n}.parquet"
        ran = cli(*given, "-o", out, "--rescore-sample", sample)
        assert ran.code == 0, ran.err
        tables.append(pq.read_table(out).to_pylist())
        records.append(json.loads(Path(f"{out}.run.json").read_text())["cascade"])
        said.append(ran.err)
        made = json.loads(pq.read_schema(out).metadata[b"legscore"])["cascade"]
        assert made["sample"] == records[-1]["sample"]
        assert made["student"]["student"]["cost"] == 20
    assert tables[0] == tables[1] == tables[2]
    assert "check: none" in said[0]
    assert records[0]["check"]["sampled"] == 0
    assert 20 < records[1]["check"]["sampled"] < 60
    assert "too few to tell" in said[1]
    everything = records[2]["check"]
    assert everything["sampled"] == records[2]["ranked_rows"] == 87
    assert everything["sampled_outside"] == 87 - records[2]["chosen_rows"] == 78
    scores = {name: tmp_path / f"{name}.parquet" for name in "se"}
    for name, which in zip("se", (student, models), strict=True):
        assert cli("run", table, "-m", which, "-o", scores[name], "-q").code == 0
    ours, theirs = (pq.read_table(scores[name]).to_pylist() for name in "se")
    ranked = [i for i, row in enumerate(ours) if row["status"] == "ok"]
    best = max(ranked, key=lambda i: (abs_effect(theirs[i]), tables[2][i]["scored_by"] == "ensemble"))
    assert everything["found"] == [float(tables[2][best]["scored_by"] == "ensemble")] * 3
    pairs = np.array([[ours[i]["effect"], theirs[i]["effect"]] for i in ranked])
    assert everything["rmse"] == pytest.approx(np.sqrt(np.mean((pairs[:, 0] - pairs[:, 1]) ** 2)), abs=1e-5)
    assert everything["pearson"] == pytest.approx(np.corrcoef(pairs.T)[0, 1], abs=1e-4)


def test_what_is_expected_and_what_was_found_are_said(
    models: Path, student: Path, coarse: None, cli: Cli, tmp_path: Path
) -> None:
    table = rows_of("pairs", tmp_path / "in.parquet")
    given = ("run", table, "-m", models, "--rescore", "10%", "--rescore-sample", 1_000)
    ran = cli(*given, "--student", student, "-o", tmp_path / "o.parquet")
    assert "9 of 87 rows (10.3%)" in ran.err
    assert "expected to hold 90" in ran.err
    assert "size alone chooses" in ran.err
    assert "also scores 1 rows of lengths that the student does not read" in ran.err
    assert "scored by: student 78, ensemble 10" in ran.err
    record = json.loads((tmp_path / "o.parquet.run.json").read_text())["cascade"]
    assert record["expected"] == pytest.approx([0.9004, 0.8007, 0.9502], abs=1e-3)
    assert record["rows"] == {"student": 78, "ensemble": 9, "unread_by_student": 1}
    assert ("though the student's record promises 90" in ran.err) == (record["check"]["found"][2] < 0.9)


# interruptions


class Interrupted(Exception):  # noqa: N818
    pass


def test_interrupted_in_either_pass_it_ends_with_the_same_bytes(
    models: Path, student: Path, coarse: None, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = rows_of("pairs", tmp_path / "in.parquet")
    options = [
        "run",
        table,
        "-m",
        models,
        "--student",
        student,
        "--rescore",
        "10%",
        "--part-rows",
        PART,
        "-q",
    ]
    assert cli(*options, "-o", tmp_path / "whole.parquet").code == 0
    n_parts, whole, left = -(-ROWS // PART), PartFolder.save, [0]

    def save(self: PartFolder, number: int, scored: Scored) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Interrupted
        whole(self, number, scored)

    monkeypatch.setattr(PartFolder, "save", save)
    monkeypatch.setattr("legscore.run.pipeline.KEEPING", 1)
    out = tmp_path / "o.parquet"
    for stops in ((0,), (2,), (n_parts,), (n_parts + 1,), (1, 3, 4), (n_parts + 4, 1)):
        for stop in stops:
            left[0] = stop
            with pytest.raises(Interrupted):
                cli(*options, "-o", out)
            assert not out.exists()
            assert (tmp_path / "o.parquet.parts").exists() == (stop > 0 or stop != stops[0])
        left[0] = 10**6
        ran = cli(*options, "-o", out)
        assert ran.code == 0, ran.err
        assert out.read_bytes() == (tmp_path / "whole.parquet").read_bytes()
        assert not (tmp_path / "o.parquet.parts").exists()
        record = json.loads((tmp_path / "o.parquet.run.json").read_text())
        assert record["rows_resumed"] + record["cascade"]["first_pass"]["rows_resumed"] > 0 or stops == (0,)
        again = cli(*options[:-1], "-o", out)
        assert "already finished" in again.err
        out.unlink()


def test_what_differs_from_an_interrupted_run_is_refused(
    models: Path, student: Path, coarse: None, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table, out = rows_of("pairs", tmp_path / "in.parquet"), tmp_path / "o.parquet"
    options = ["run", table, "-m", models, "--part-rows", PART, "-o", out, "-q"]
    cascade = [*options, "--student", student, "--rescore"]
    whole, left = PartFolder.save, [0]

    def save(self: PartFolder, number: int, scored: Scored) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise Interrupted
        whole(self, number, scored)

    monkeypatch.setattr(PartFolder, "save", save)
    for stop in (2, -(-ROWS // PART) + 2):
        left[0] = stop
        with pytest.raises(Interrupted):
            cli(*cascade, "10%")
        left[0] = 10**6
        one_line(cli(*options), "holds an interrupted run with a student", "--restart")
        one_line(cli(*cascade, "10%", "--max-n", 3), "differs from this one: options max_n")
    one_line(cli(*cascade, "20%"), "differs from this one: cascade", "--restart")
    assert cli(*cascade, "20%", "--restart").code == 0
    out.unlink()
    left[0] = 2
    with pytest.raises(Interrupted):
        cli(*options)
    left[0] = 10**6
    one_line(cli(*cascade, "20%"), "holds an interrupted run on a table")


def test_shards_of_a_fixed_threshold_join_to_the_whole(
    models: Path, student: Path, coarse: None, cli: Cli, tmp_path: Path
) -> None:
    table = rows_of("pairs", tmp_path / "in.parquet")
    options = [
        "run",
        table,
        "-m",
        models,
        "--student",
        student,
        "--rescore",
        "abs_effect>0.5",
        "--part-rows",
        PART,
        "-q",
    ]
    for ending in ("parquet", "csv"):
        assert cli(*options, "-o", tmp_path / f"whole.{ending}").code == 0
        shards = [tmp_path / f"{i}.{ending}" for i in (1, 2, 3)]
        for i, shard in enumerate(shards, 1):
            assert cli(*options, "-o", shard, "--shard", f"{i}/3").code == 0
        assert cli("merge", *shards, "-o", tmp_path / f"joined.{ending}").code == 0
        assert (tmp_path / f"joined.{ending}").read_bytes() == (tmp_path / f"whole.{ending}").read_bytes()
    out = cli(*options, "-o", "-")
    assert out.out.splitlines() == [
        line.replace(",", "\t") for line in (tmp_path / "whole.csv").read_text().splitlines()
    ]


def test_parts_and_row_groups_change_no_row(
    models: Path, student: Path, coarse: None, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor whether keys are held in memory; nor a folder of files."""
    table = rows_of("pairs", tmp_path / "in.parquet")
    pq.write_table(pq.read_table(table), tmp_path / "groups.parquet", row_group_size=7)
    write_csv(pq.read_table(table), tmp_path / "in.csv")
    found = []
    for source, rows in (
        (table, 16),
        (table, 31),
        (table, 1000),
        (tmp_path / "groups.parquet", 16),
        (tmp_path / "in.csv", 25),
    ):
        out = tmp_path / f"{source.stem}{rows}.parquet"
        options = ("--student", student, "--rescore", "top:11", "--part-rows", rows, "-q")
        assert cli("run", source, "-m", models, *options, "-o", out).code == 0
        found.append([{**row, "id": int(row["id"])} for row in pq.read_table(out).to_pylist()])
    assert all(rows == found[0] for rows in found)
    monkeypatch.setattr("legscore.run.first_pass.HELD_ROWS", 1)
    same = (tmp_path / f"{name}16.parquet" for name in ("in", "groups"))
    assert len({path.read_bytes() for path in same}) == 1
    assert (
        cli(
            "run",
            table,
            "-m",
            models,
            "--student",
            student,
            "--rescore",
            "top:11",
            "-q",
            "-o",
            f"{tmp_path}/folder/",
        ).code
        == 0
    )
    assert pq.read_table(tmp_path / "folder").to_pylist() == found[0]


# refusals


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--rescore", "5%"), "--rescore is about what a student scored first; give --student too"),
        (("--rescore-sample", 5), "--rescore-sample is about"),
        (("--force-student",), "--force-student is about"),
        (("--student", "S"), "--student needs --rescore, such as '5%'"),
        (("--student", "S", "--rescore", "5"), "write a share of the rows such as '5%'"),
        (("--student", "S", "--rescore", "0%"), "write a share"),
        (("--student", "S", "--rescore", "101%"), "write a share"),
        (("--student", "S", "--rescore", "top:0"), "write a share"),
        (("--student", "S", "--rescore", "abs_effect<2"), "write a share"),
        (("--student", "S", "--rescore", "abs_effect>-1"), "write a share"),
        (("--student", "S", "--rescore", "effect>1"), "write a share"),
        (("--student", "S", "--rescore", "abs_effect>1e999"), "write a share"),
        (("--student", "S", "--rescore", "abs_effect>1e39"), "write a share"),
        (("--student", "S", "--rescore", "5%", "--shard", "1/2"), "does not go with --shard: give a threshold"),
        (("--student", "S", "--rescore", "top:5", "--shard", "1/2"), "A run with the student alone (-m) prints"),
        (("--student", "S", "--rescore", "5%", "-o", "-"), "does not go with standard output: give a threshold"),
        (("--student", "S", "--rescore", "score>5"), "compare two sequences and are chosen by their effect"),
        (("--student", "S", "--rescore", "5%", "--kind", "sequence", "--column", "sequence=ref_sequence"),
         "single sequences have none of"),
        (("--student", "S", "--rescore", "5%", "--out-of-fold", "id"), "--out-of-fold does not go with --student"),
        (("--student", "S", "--rescore", "5%", "--shifts", "0,2"), "--shifts does not go with --student"),
        (("--student", "S", "--rescore", "5%", "--shuffle-null", 2), "--shuffle-null does not go with --student"),
        (("--student", "S", "--rescore", "5%", "--singleton", 1), "stands for scores with 0"),
        (("--student", "S", "--rescore", "5%", "--rc", "none"), "--rc none: the student stands for"),
        (("--student", "S", "--rescore", "5%", "--sequence-is", "window"), "--student reads inserts"),
        (("--student", "M", "--rescore", "5%"), "is several models"),
        (("--student", "M0", "--rescore", "5%"), "is no student"),
        (("--student", "absent", "--rescore", "5%"), "absent"),
        (("--student", "S", "--rescore", "5%", "-m", "M0"), "stands for 3 other models, or not all the same (1 of"),
        (("--student", "S", "--rescore", "5%", "-m", "S"), "is a student; with --student the models are"),
        (("--student", "S", "--rescore", "5%", "-o", "S"), "S"),
        (("--student", "S", "--rescore", "5%", "--log-json", "S"), "S"),
        (("--student", "S", "--rescore", "5%", "--calibration", "S"), "its intervals are of its own effects"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused(
    models: Path, student: Path, coarse: None, cli: Cli, tmp_path: Path, given: tuple[Any, ...], told: str
) -> None:
    table = rows_of("pairs", tmp_path / "in.parquet")
    places = {"S": student, "M": models, "M0": models / "m0.safetensors"}
    words = [places.get(word, word) for word in given]
    if "-m" not in words:
        words += ["-m", models]
    if "-o" not in words:
        words += ["-o", tmp_path / "o.parquet"]
    one_line(cli("run", table, *words), places[told].name if told in places else told)
    assert not (tmp_path / "o.parquet").exists()
    assert not (tmp_path / "o.parquet.parts").exists()


def test_a_student_of_others_is_taken_when_forced(
    models: Path, student: Path, coarse: None, cli: Cli, tmp_path: Path
) -> None:
    table = rows_of("pairs", tmp_path / "in.parquet")
    options = ("run", table, "-m", models / "m0.safetensors", "--student", student, "--rescore", "5%")
    one_line(cli(*options, "-o", tmp_path / "o.parquet"), "add --force-student")
    ran = cli(*options, "-o", tmp_path / "o.parquet", "--force-student")
    assert ran.code == 0, ran.err
    assert "stands for other models (--force-student), so nothing is expected" in ran.err
    assert json.loads((tmp_path / "o.parquet.run.json").read_text())["cascade"]["expected"] is None


def test_columns_of_the_ensemble_alone_are_null_in_rows_of_the_student(
    models: Path, student: Path, coarse: None, cli: Cli, tmp_path: Path
) -> None:
    """--per-model, --calibration; rows that both scored are what the ensemble alone gives them."""
    table = rows_of("pairs", tmp_path / "in.parquet")
    hashes = tuple(member.sha256 for member in load_members([models]))
    Calibration(hashes, {"rc": "construct", "singleton": 0}, 0.9, 2.0, 0.1, True, 0.9).save(
        tmp_path / "c.json"
    )
    options = ("run", table, "-m", models, "--per-model", "--calibration", tmp_path / "c.json", "-q")
    assert cli(*options, "-o", tmp_path / "e.parquet").code == 0
    cascade = (*options, "--student", student, "--rescore", "30%", "--part-rows", PART)
    assert cli(*cascade, "-o", tmp_path / "o.parquet").code == 0
    whole, found = (pq.read_table(tmp_path / name).to_pylist() for name in ("e.parquet", "o.parquet"))
    assert Counter(row["scored_by"] for row in found) == {"student": 60, "ensemble": 28, None: 2}
    for row, other in zip(found, whole, strict=True):
        if row.pop("scored_by") == "student":
            assert row["effect_per_model"] == row["ref_score_per_model"] == [None] * MEMBERS
            assert row["effect_low"] is row["effect_high"] is row["effect_sd"] is None
            assert row["effect"] is not None
        else:
            assert row == other


def test_members_until_a_standard_error(coarse: None, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for seed in range(8):
        toy_checkpoint(seed).save(tmp_path / "models" / f"m{seed}.safetensors")
    student = make_student(tmp_path / "models", tmp_path / "s.safetensors")
    table = rows_of("pairs", tmp_path / "in.parquet")
    options = ("run", table, "-m", tmp_path / "models", "--until-se", 0.12, "-q")
    assert cli(*options, "-o", tmp_path / "e.parquet").code == 0
    ran = cli(
        *options, "--student", student, "--rescore", "50%", "-o", tmp_path / "o.parquet", "--part-rows", PART
    )
    assert ran.code == 0, ran.err
    whole, found = (pq.read_table(tmp_path / name).to_pylist() for name in ("e.parquet", "o.parquet"))
    assert {row["n_members"] for row in found} >= {5, 8, None}
    for row, other in zip(found, whole, strict=True):
        by = row.pop("scored_by")
        assert row["n_members"] is None if by == "student" else row == other


class Odd(Coarse):
    """Scores of the ensemble that cannot be right."""

    def __init__(self, members: Any) -> None:
        super().__init__(members)
        self.name = "null" if members[0].contract.length < 110 else "odd"

    def _score(self, batch: Batch, members: list[int], both: bool, tell: Any) -> np.ndarray:
        scores_MN = super()._score(batch, members, both, tell)
        return scores_MN if self.name == "null" else np.full_like(scores_MN, 99)


def test_a_wrong_score_is_told_with_its_row(
    models: Path, student: Path, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored_by(monkeypatch, Odd)
    table = rows_of("pairs", tmp_path / "in.parquet")
    assert cli("run", table, "-m", student, "-o", tmp_path / "s.parquet", "-q").code == 0
    effects = pq.read_table(tmp_path / "s.parquet")["effect"].to_numpy(zero_copy_only=False)[PART * 2 :]
    place = 2 * PART + int(np.nanargmax(np.abs(effects)))
    pq.write_table(pq.read_table(table).slice(2 * PART), tmp_path / "rest.parquet")  # all of one length
    options = ("--student", student, "--rescore", "top:1", "--rescore-sample", 0, "--part-rows", PART)
    ran = cli("run", tmp_path / "rest.parquet", "-m", models, *options, "-o", tmp_path / "o.parquet")
    assert ran.code == 2
    assert f"row {place - 2 * PART + 1} of" in ran.err


def test_a_dry_run_tells_of_both_passes(
    models: Path, student: Path, coarse: None, cli: Cli, tmp_path: Path
) -> None:
    table = rows_of("pairs", tmp_path / "in.parquet")
    options = (
        "run",
        table,
        "-m",
        models,
        "--student",
        student,
        "-o",
        tmp_path / "o.parquet",
        "--dry-run",
        "--rescore",
    )
    ran = cli(*options, "10%", "--rescore-sample", 9)
    assert ran.code == 0, ran.err
    assert "pass 1, the student:\nparts: 1, of 90 rows\n" in ran.out
    windows = int(
        re.search(r"windows: (\d+) after deduplication, × 3|$", cli(*options[:4], *options[6:9]).out)[1]
    )
    assert f"windows: {round(windows * 0.19)} of 10% of the rows and a random 10%, × 3 members" in ran.out
    assert re.search(r"in all: about .*; .* without --student", ran.out)
    ran = cli(*options, "abs_effect>1")
    assert "for each 1% beyond the threshold" in ran.out
    assert not list(tmp_path.glob("o.parquet*"))


@pytest.mark.parametrize("asked", ["5%", "abs_effect>1"])
def test_inputs_without_a_row_to_choose(
    models: Path, student: Path, coarse: None, cli: Cli, tmp_path: Path, asked: str
) -> None:
    for rows in ([], ["AXA"] * 3):
        texts = pa.array(rows, pa.string())
        pq.write_table(pa.table({"ref_sequence": texts, "alt_sequence": texts}), tmp_path / "in.parquet")
        options = ("--student", student, "--rescore", asked, "--force", "-o", tmp_path / "o.parquet")
        ran = cli("run", tmp_path / "in.parquet", "-m", models, *options)
        assert ran.code == 0, ran.err
        assert "check: none, since the student scored no row" in ran.err
        assert pq.read_table(tmp_path / "o.parquet")["scored_by"].to_pylist() == [None] * len(rows)


def test_events_and_the_report_tell_of_both(
    models: Path, student: Path, coarse: None, cli: Cli, tmp_path: Path
) -> None:
    table, log = rows_of("pairs", tmp_path / "in.parquet"), tmp_path / "log.jsonl"
    options = ("--student", student, "--rescore", "10%", "--part-rows", PART, "--log-json", log)
    assert cli("run", table, "-m", models, *options, "-o", tmp_path / "o.parquet").code == 0
    events = [json.loads(line) for line in log.read_text().splitlines()]
    assert [event["members"] for event in events if event["event"] == "start"] == [1, MEMBERS]
    assert sum(event["event"] == "part" for event in events) == 2 * -(-ROWS // PART)
    assert events[-1]["ok"]
    pytest.importorskip("polars", reason="reports need legscore[evaluate]")
    assert cli("report", tmp_path / "o.parquet", "-o", tmp_path / "o.html").code == 0
    assert "it scored every row, the models scored 10% again" in (tmp_path / "o.html").read_text()


def test_python_says_the_same(models: Path, student: Path, tmp_path: Path) -> None:
    """With a real engine; a student that makes other mistakes than it promises is told of."""
    table, said = rows_of("pairs", tmp_path / "in.parquet"), []
    asked = {
        "models": models,
        "student": student,
        "rescore": "10%",
        "rescore_sample": 90,
        "precision": "fp32",
    }
    record = legscore.score_file(table, tmp_path / "o.parquet", say=said.append, **asked)
    assert record["cascade"]["rows"] == {"student": 78, "ensemble": 9, "unread_by_student": 1}
    assert record["verify"]["members_verified"] == MEMBERS
    assert record["cascade"]["first_pass"]["verify"]["members_verified"] == 1
    assert any(line.startswith("chosen: 9 of 87 rows") for line in said)
    with pytest.raises(LegscoreError, match=r"student needs rescore"):
        legscore.score_file(table, tmp_path / "p.parquet", models=models, student=student)
