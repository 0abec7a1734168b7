"""legscore design: constraints against brute force and plain text search, searches, selection, the command,
bad input."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from conftest import Ran, human_contract, random_dna, toy_checkpoint, yeast_contract
from hypothesis import given, settings
from hypothesis import strategies as st
from test_generator import generator_contract, toy_generator

from legscore.design import hamming
from legscore.design.automaton import IMPOSSIBLE, Automaton
from legscore.design.constraints import FREE, Constraints, Rules, parse_gc
from legscore.design.curve import ks_distance
from legscore.design.final_check import broken_rules
from legscore.design.keep import kept_bases, places, text_of
from legscore.design.motifs import ENZYMES, both_strands, other_strand, read_motif
from legscore.design.plan import told_targets
from legscore.design.search import evolve, greedy
from legscore.design.targets import read_targets
from legscore.dna.codes import encode_text
from legscore.dna.contract import Output
from legscore.errors import InputError, LegscoreError
from legscore.generate.mutations import mutated
from legscore.generate.pairing import unfit

YEAST = yeast_contract()
Cli = Callable[..., Ran]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator, three predictors whose scores vary, and 30 sequences to start from."""
    made = tmp_path_factory.mktemp("design")
    generator = toy_generator(5)
    # random weights are too sure of themselves: all designs were alike
    generator.arrays["head.conv.weight"][:] *= 0.2
    generator.save(made / "g.safetensors")
    (made / "models").mkdir()
    for seed in range(2):
        toy_checkpoint(seed, generator_free_contract()).save(made / "models" / f"m{seed}.safetensors")
    toy_checkpoint(7, generator_free_contract()).save(made / "check.safetensors")
    rng = np.random.default_rng(1)
    starts = [random_dna(rng, 40) + "TATAAA" + random_dna(rng, 34) for _ in range(30)]
    (made / "starts.fa").write_text("".join(f">p{i}\n{text}\n" for i, text in enumerate(starts)))
    return made


def generator_free_contract() -> Any:
    return yeast_contract(output=Output("bins", "bin", 0.0, 17.0, None))


# ---- the automaton: exact


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.text("ACGT", min_size=1, max_size=3), min_size=0, max_size=4),
    st.text("ACGT", max_size=4),
    st.text("ACGT", max_size=4),
    st.integers(1, 5),
    st.integers(0, 3),
    st.integers(0, 2**32 - 1),
)
def test_automaton_finds_the_best_of_all_inserts(
    patterns: list[str], flank5: str, flank3: str, length: int, low: int, seed: int
) -> None:
    """Against every insert there is: which are refused, whether one is possible, and the best one."""
    rng = np.random.default_rng(seed)
    high = min(length, low + int(rng.integers(0, 3)))
    if rng.random() < 0.4:
        low, high = 0, length  # any number of G and C is decided by a shorter way
    value = rng.normal(size=(1, 4, length)).astype(np.float32)
    if rng.random() < 0.5:
        value[0, 1:, 0] = IMPOSSIBLE  # the first base is kept
    automaton = Automaton(patterns, flank5, flank3)
    best, found = -np.inf, []
    for codes in itertools.product(range(4), repeat=length):
        insert = text_of(np.array(codes))
        text, begin, end = flank5 + insert + flank3, len(flank5), len(flank5) + length
        bad = any(
            m.start() < end and m.start() + len(p) > begin
            for p in patterns
            for m in re.finditer(f"(?={p})", text)
        )
        assert automaton.refuses(np.array([codes], dtype=np.uint8))[0] == bad
        if not bad and low <= sum(c in (1, 2) for c in codes) <= high:
            total = sum(float(value[0, c, i]) for i, c in enumerate(codes))
            if total > IMPOSSIBLE / 2:
                best = max(best, total)
                found.append(insert)
    codes, possible = automaton.best(value, low, high)
    assert possible[0] == bool(found)
    if found:
        assert text_of(codes[0]) in found
        assert abs(sum(float(value[0, c, i]) for i, c in enumerate(codes[0])) - best) < 1e-4


RULES = [
    Rules(avoid=("EcoRI", "BsaI", "TATAWAW")),
    Rules(gc=(0.4, 0.5)),
    Rules(homopolymer=3),
    Rules(avoid=("GGTCTC", "RAATTY"), gc=(0.25, 0.3), homopolymer=4),
    Rules(avoid=("BamHI",), keep=("10:TATAAA", "40:NNGGNNCC"), homopolymer=5),
    Rules(keep=("TGACTC", "RTACGTR"), avoid=("XhoI",), gc=(0.5, 0.6)),
]


@pytest.mark.parametrize("rules", RULES)
def test_constraints_hold_and_the_twin_agrees(rules: Rules) -> None:
    """Hostile probabilities (repeats, forbidden sites, all G): `settle` always satisfies everything, and
    `violated` says the same as plain text search on each sequence."""
    rng = np.random.default_rng(3)
    n, length = 60, 80
    kept = kept_bases(rules, YEAST, length, np.arange(n), None)
    constraints = Constraints(rules, YEAST, length, kept)
    constraints.check_possible()
    hostile = [
        encode_text((("GAATTC" + "GGTCTC" + "A" * 9 + "GGATCC") * 4)[:length]),
        encode_text("G" * length),
        encode_text("A" * length),
    ]
    codes = np.concatenate([rng.integers(0, 4, (n - 3, length), dtype=np.uint8), np.stack(hostile)])
    probability = (codes[:, None, :] == np.arange(4)[None, :, None]) * 0.9 + rng.random((n, 4, length)) * 0.05
    rows = np.arange(n)
    settled = constraints.settle(probability.astype(np.float32), rows)
    held = constraints.hold(probability.astype(np.float32), rows)
    for which in (codes, settled):
        violated = constraints.violated(which, rows)
        for row in rows:
            broken = broken_rules(text_of(which[row]), Rules(rules.avoid, rules.gc, rules.homopolymer), YEAST)
            lost = bool(((kept[row] != FREE) & (kept[row] != which[row])).any())
            assert violated[row] == (bool(broken) or lost), broken
    assert not constraints.violated(settled, rows).any()
    assert not any(broken_rules(text_of(c), rules, YEAST) for c in settled)
    untouched = ~constraints.violated(codes, rows)
    assert (settled[untouched] == codes[untouched]).all()
    assert held.dtype == np.float32
    assert ((held.argmax(axis=1) == kept) | (kept == FREE)).all()
    before, after = (
        constraints.violated(x.argmax(axis=1).astype(np.uint8), rows).mean() for x in (probability, held)
    )
    assert after <= before
    assert after <= 0.35  # motifs and GC content pull against each other in a few; `settle` is exact


def test_sites_across_the_junctions_count() -> None:
    """flank5 ends CACATC and flank3 begins GGTTAC: sites that the insert completes are seen, those inside
    flanks are not."""
    rules = Rules(avoid=("CACATCAA", "CCGGTT", "GGTTAC"))
    free = np.full((1, 80), FREE, dtype=np.uint8)
    constraints = Constraints(rules, YEAST, 80, free)
    constraints.check_possible()
    middle = "ACGT" * 19
    for insert, bad in (
        ("AA" + middle + "TA", True),
        ("AC" + middle + "CC", True),
        ("AC" + middle + "TA", False),
    ):
        assert constraints.violated(encode_text(insert)[None], np.array([0]))[0] == bad
        assert bool(broken_rules(insert, rules, YEAST)) == bad


def test_motifs() -> None:
    assert read_motif("ecori", "--avoid") == "GAATTC"
    assert both_strands("GGTCTC", "--avoid") == ["GAGACC", "GGTCTC"]
    assert len(both_strands("SfiI" and ENZYMES["SfiI"], "--avoid")) == 4**5
    assert other_strand("AACG") == "CGTT"
    assert places("TGACTC", "AATGACTCAAGAGTCA") == [2, 10]
    assert parse_gc("30-50") == (0.3, 0.5)
    assert parse_gc("0.3-0.5") == (0.3, 0.5)
    with pytest.raises(InputError, match='neither a motif.*did you mean "EcoRI"'):
        read_motif("EcoRII", "--avoid")
    with pytest.raises(InputError, match="stands for 16,384 sequences"):
        both_strands("N" * 7, "--avoid")


def test_targets(tmp_path: Path) -> None:
    def read(text: str, n: int | None = None) -> list[float]:
        return [float(v) for v in read_targets(text, n, 0.0, 17.0, "the predictors' scores")]

    assert read("12", 3) == [12, 12, 12]
    assert read("6,9,12", 4) == [6, 9, 12, 6]
    assert read("6:15", 4) == [6, 9, 12, 15]
    assert read("6:8:0.5", 5) == [6, 6.5, 7, 7.5, 8]
    assert len(read("12")) == 100
    (tmp_path / "t.csv").write_text("id,wanted\na,7.5\nb,11\n")
    assert read(f"{tmp_path}/t.csv:wanted") == [7.5, 11]
    for text, message in (
        ("18", "18 outside 0..17, the range of the predictors' scores"),
        ("15:6", "write the lower bound first"),
        ("6:9:0", "the step must be above 0"),
        ("twelve", "write a number, a list"),
        (f"{tmp_path}/t.csv:want", "no column 'want' .did you mean \"wanted\""),
        (f"{tmp_path}/t.csv:id", "must hold numbers"),
        (f"{tmp_path}/missing.csv:id", "no such file"),
    ):
        with pytest.raises(InputError, match=message):
            read(text)
    with pytest.raises(InputError, match="--n 0: at least 1"):
        read("12", 0)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 12), st.integers(0, 1000))
def test_hamming_distances(n: int, k: int, length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 4, (rows, length), dtype=np.uint8) for rows in (n, k))
    slow = (a[:, None] != b[None]).sum(axis=2)
    assert (hamming.distances(a, b) == slow).all()
    row, least = hamming.nearest(a, b)
    assert (least == slow.min(axis=1)).all()
    assert (slow[np.arange(n), row] == least).all()
    if n > 1:
        own = (a[:, None] != a[None]).sum(axis=2) + np.eye(n, dtype=int) * 1000
        assert (hamming.nearest(a, a, same=True)[1] == own.min(axis=1)).all()


def test_kolmogorov_smirnov() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    for n in (3, 50):
        a, b = rng.normal(size=n), np.round(rng.normal(0.5, 1, n + 4), 1)
        assert abs(ks_distance(a, b) - stats.ks_2samp(a, b).statistic) < 1e-12


# ---- generator and predictor belong together


def test_mismatched_contracts() -> None:
    generator = generator_contract(output=Output("bases", "bin", 0.0, 17.0))
    assert unfit(generator, YEAST) == ""
    assert "its construct is another: flank3" in unfit(
        generator, yeast_contract(flank3="GGTTACGGCTGTA", adapter3="GGTTACGGCTGTA")
    )
    other = "G" + YEAST.flank5[1:]
    assert unfit(generator, yeast_contract(flank5=other)) == ""  # beyond what the window reads of it
    assert "flank5 ends" in unfit(
        generator, yeast_contract(flank5=YEAST.flank5[:-30] + "A" * 13 + YEAST.flank5[-17:])
    )
    assert "it reads inserts of 200-200 bases" in unfit(generator, human_contract())
    assert "its scores are 'log'" in unfit(generator, yeast_contract(output=Output("bins", "log", 0.0, 17.0)))


# ---- searches


class GcJudge:
    """Stands where a network would: the share of G and C, in 0-17, so that the best design is known."""

    def __init__(self) -> None:
        self.calls = 0

    def scores(self, codes_NL: np.ndarray) -> np.ndarray:
        self.calls += len(codes_NL)
        return (17 * np.isin(codes_NL, (1, 2)).mean(axis=1))[None].astype(np.float32)

    def changes(self, codes: np.ndarray, row: np.ndarray, place: np.ndarray, base: np.ndarray) -> np.ndarray:
        changed = codes[row].copy()
        changed[np.arange(len(row)), place] = base
        self.calls += len(codes)
        return self.scores(changed)


@pytest.mark.parametrize("rules", [Rules(), Rules(avoid=("GGG",), homopolymer=3, keep=("5:TATAAA",))])
@pytest.mark.parametrize("method", ["greedy", "evolve"])
def test_searches_reach_targets_within_their_calls(method: str, rules: Rules) -> None:
    n, length, calls = 12, 40, 4000
    target = np.linspace(3, 13, n).astype(np.float32)
    constraints = Constraints(rules, YEAST, length, kept_bases(rules, YEAST, length, np.arange(n), None))
    rng = np.random.default_rng(0)
    start = constraints.settle(rng.random((n, 4, length)).astype(np.float32), np.arange(n))
    judge, ticks = GcJudge(), []
    if method == "greedy":
        found = greedy(judge, start, target, constraints, calls, ticks.append)  # type: ignore[arg-type]
    else:
        found = evolve(judge, start, target, constraints, calls, rng, ticks.append)  # type: ignore[arg-type]
    best = np.abs(found.scores_MNK[0] - target[:, None]).argmin(axis=1)
    codes = found.codes_NKL[np.arange(n), best]
    error = np.abs(judge.scores(codes)[0] - target)
    assert (error <= 17 / length / 2 + 1e-6).all()  # as near as a count of G and C allows
    assert judge.calls - n <= n * calls
    assert (found.scores_MNK[0, np.arange(n), best] == judge.scores(codes)[0]).all()
    assert not any(broken_rules(text_of(c), rules, YEAST) for people in found.codes_NKL for c in people)
    few = GcJudge()
    if method == "greedy":
        greedy(few, start, target, constraints, 100, ticks.append)  # type: ignore[arg-type]
        assert few.calls <= 100 * n
        assert few.calls == n or rules.keep  # without kept bases one round of changes is more than that
    else:
        evolve(few, start, target, constraints, 100, rng, ticks.append)  # type: ignore[arg-type]
        assert few.calls <= 100 * n


# ---- the command


def designed(cli: Cli, folder: Path, out: Path, *more: object) -> Any:
    ran = cli(
        "design",
        "-g",
        folder / "g.safetensors",
        "-m",
        folder / "models",
        "--steps",
        6,
        "--precision",
        "fp32",
        "--engine",
        "openvino",
        "-o",
        out,
        *more,
    )
    assert ran.code == 0, ran.err
    return pq.read_table(out), ran


def test_designs_from_end_to_end(cli: Cli, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    table, ran = designed(
        cli,
        folder,
        tmp_path / "d.parquet",
        "--target",
        "6:10",
        "--n",
        24,
        "--fasta-out",
        tmp_path / "d.fa",
        "--seed",
        40,
        "--check",
        folder / "check.safetensors",
        "--training",
        folder / "starts.fa",
        "--report",
        tmp_path / "report",
        "--feed",
        "sample",
    )
    assert table.column_names[:8] == [
        "sequence",
        "insert",
        "target",
        "score",
        "score_sd",
        "error",
        "steps",
        "seed",
    ]
    rows = table.to_pylist()
    assert len(rows) == 24
    assert rows[0]["target"] == 6
    assert rows[-1]["target"] == 10
    assert [row["seed"] for row in rows] == list(range(40, 64))
    assert {row["steps"] for row in rows} == {6}
    for row in rows:
        assert row["sequence"] == YEAST.adapter5 + row["insert"] + YEAST.adapter3
        assert abs(row["error"] - (row["score"] - row["target"])) < 1e-5
    # scores are those of legscore run, and so is the check
    for models, column in ((folder / "models", "score"), (folder / "check.safetensors", "check_score")):
        again = cli(
            "run",
            tmp_path / "d.fa",
            "-m",
            models,
            "--precision",
            "fp32",
            "--engine",
            "openvino",
            "--force",
            "-o",
            tmp_path / "s.parquet",
        )
        assert again.code == 0, again.err
        scored = pq.read_table(tmp_path / "s.parquet")["score"].to_numpy()
        assert np.abs(scored - table[column].to_numpy()).max() < 1e-5
    starts = [line for line in (folder / "starts.fa").read_text().splitlines() if not line.startswith(">")]
    for row in rows[:5]:
        slow = [sum(a != b for a, b in zip(row["insert"], s, strict=True)) for s in starts]
        assert row["nearest_distance"] == min(slow)
        assert slow[int(row["nearest_training"][1:])] == min(slow)
    record = json.loads((tmp_path / "d.parquet.run.json").read_text())
    assert record["predictor_calls"] == 24
    metadata = json.loads(pq.read_schema(tmp_path / "d.parquet").metadata[b"legscore"])
    assert metadata["design"]["schedule"] == {"steps": 6, "shift": 30, "start": 6, "feed": "sample"}
    assert "host" not in metadata
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert sum(row["n"] for row in report["by_target"]) == 24
    for name in ("hexbin.png", "error_by_target.png", "diversity.png"):
        assert (tmp_path / "report" / name).read_bytes()[:4] == b"\x89PNG"
    assert "target and score: Pearson" in ran.err
    assert "by the models of --check" in ran.err


def test_same_seed_same_design(cli: Cli, folder: Path, tmp_path: Path) -> None:
    """A design depends on its seed and target alone, not on the others; --best-of takes the nearest of its
    candidates."""
    for feed in ("soft", "sample"):
        several, _ = designed(
            cli,
            folder,
            tmp_path / f"{feed}-a.parquet",
            "--target",
            "6:10",
            "--n",
            5,
            "--seed",
            3,
            "--feed",
            feed,
            "--min-distance",
            0,
        )
        row = several.to_pylist()[3]
        one, _ = designed(
            cli,
            folder,
            tmp_path / f"{feed}-b.parquet",
            "--target",
            row["target"],
            "--n",
            1,
            "--seed",
            row["seed"],
            "--feed",
            feed,
        )
        assert one.to_pylist() == [row]
    best, _ = designed(
        cli,
        folder,
        tmp_path / "c.parquet",
        "--target",
        "8",
        "--n",
        2,
        "--best-of",
        4,
        "--seed",
        10,
        "--feed",
        "sample",
    )
    every, _ = designed(
        cli, folder, tmp_path / "e.parquet", "--target", "8", "--n", 8, "--seed", 10, "--feed", "sample"
    )
    for i in range(2):
        four = every.to_pylist()[4 * i : 4 * i + 4]
        assert best.to_pylist()[i]["insert"] == min(four, key=lambda row: abs(row["error"]))["insert"]


def test_torch_and_openvino_make_the_same_designs(cli: Cli, folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    tables = []
    for engine in ("openvino", "torch"):
        ran = cli(
            "design",
            "-g",
            folder / "g.safetensors",
            "-m",
            folder / "models",
            "--target",
            "6:10",
            "--n",
            6,
            "--steps",
            5,
            "--feed",
            "sample",
            "--engine",
            engine,
            "--precision",
            "fp32",
            "-o",
            tmp_path / f"{engine}.parquet",
        )
        assert ran.code == 0, ran.err
        tables.append(pq.read_table(tmp_path / f"{engine}.parquet"))
    codes = [np.stack([encode_text(t) for t in table["insert"].to_pylist()]) for table in tables]
    assert (codes[0] == codes[1]).mean() > 0.99  # a draw may fall on the other side of a rounding


def test_emphasis_moves_what_the_generator_is_told() -> None:
    generator = toy_generator(1, generator_contract(output=Output("bases", "bin", 2.0, 16.0)))
    target = np.array([4, 9, 12, 15], dtype=np.float32)
    assert (told_targets(target, generator, 1.0) == target).all()
    assert told_targets(target, generator, 2.0).tolist() == [2, 9, 15, 16]  # around the middle of the range
    known = replace(generator, training={"expression_percentiles": {"50%": 10.0}})
    assert told_targets(target, known, 1.5).tolist() == [2, 8.5, 13, 16]


CONSTRAINED = [
    [
        "--avoid",
        "EcoRI",
        "--avoid",
        "GGTCTC",
        "--avoid",
        "TATAWAW",
        "--gc",
        "35-45",
        "--max-homopolymer",
        "4",
    ],
    ["--keep", "30:TATAAA", "--keep", "TGACTC", "--max-homopolymer", "5"],
]


@pytest.mark.parametrize("method", ["generator", "greedy", "evolve"])
@pytest.mark.parametrize("constraints", CONSTRAINED)
def test_constraints_hold_in_all_designs(
    cli: Cli, folder: Path, tmp_path: Path, method: str, constraints: list[str]
) -> None:
    generator = (
        ["-g", folder / "g.safetensors", "--best-of", 2] if method == "generator" else ["--calls", 300]
    )
    ran = cli(
        "design",
        *generator,
        "-m",
        folder / "models" / "m0.safetensors",
        "--method",
        method,
        "--target",
        "6:10",
        "--n",
        8,
        *(["--steps", 6] if method == "generator" else []),
        "--precision",
        "fp32",
        "--engine",
        "openvino",
        "--min-distance",
        3,
        "-o",
        tmp_path / "d.csv",
        *constraints,
    )
    assert ran.code == 0, ran.err
    rows = pyarrow.csv.read_csv(tmp_path / "d.csv").to_pylist()
    assert len(rows) == 8
    for row in rows:
        insert, oligo = row["insert"], row["sequence"]
        if "--avoid" in constraints:
            for site in ("GAATTC", "GGTCTC", "GAGACC", "TATA[AT]A[AT]", "[AT]T[AT]TATA"):
                assert not re.search(site, insert)
            assert not re.search("GAATTC|GGTCTC|GAGACC", oligo)
            assert 0.35 <= sum(c in "GC" for c in insert) / 80 <= 0.45
            assert not re.search(r"(.)\1{4}", insert)
        else:
            assert insert[30:36] == "TATAAA"
            assert "TGACTC" in insert
    for one, other in itertools.combinations(rows, 2):
        assert sum(a != b for a, b in zip(one["insert"], other["insert"], strict=True)) >= 3


@pytest.mark.parametrize("method", ["generator", "greedy"])
def test_from_given_promoters(cli: Cli, folder: Path, tmp_path: Path, method: str) -> None:
    generator = (
        ["-g", folder / "g.safetensors", "--start-mutations", 3]
        if method == "generator"
        else ["--calls", 500]
    )
    ran = cli(
        "design",
        *generator,
        "-m",
        folder / "models" / "m0.safetensors",
        "--method",
        method,
        "--target",
        "9",
        "--from",
        folder / "starts.fa",
        "--keep",
        "TATAAA",
        "--keep",
        "0-10",
        *(["--steps", 4] if method == "generator" else []),
        "--n",
        12,
        "-o",
        tmp_path / "d.parquet",
        "--engine",
        "openvino",
        "--precision",
        "fp32",
    )
    assert ran.code == 0, ran.err
    starts = (folder / "starts.fa").read_text().splitlines()[1::2]
    rows = pq.read_table(tmp_path / "d.parquet").to_pylist()
    assert [row["start_id"] for row in rows] == [f"p{i}" for i in range(12)]
    for row, start in zip(rows, starts, strict=False):
        assert row["start"] == start
        assert row["insert"][:10] == start[:10]
        assert row["insert"][40:46] == "TATAAA"
        edits = row["edits"].split(",") if row["edits"] else []
        assert len(edits) == row["n_edits"]
        rebuilt = list(start)
        for edit in edits:
            place = int(edit[1:-1])
            assert start[place] == edit[0]
            rebuilt[place] = edit[-1]
        assert "".join(rebuilt) == row["insert"]
        if method == "greedy":
            assert abs(row["error"]) <= abs(row["start_score"] - 9) + 1e-5


BAD: list[tuple[list[str], str]] = [
    (
        ["--target", "12", "--keep", "5:GAATTC", "--avoid", "EcoRI"],
        r"every insert with the bases to keep holds EcoRI \(GAATTC\)",
    ),
    (
        ["--target", "12", "--keep", "5:AAAA", "--keep", "7:G"],
        "wants G at place 7, another --keep wants A there",
    ),
    (["--target", "12", "--keep", "GAATTC", "--avoid", "EcoRI"], "no place was found for --keep GAATTC"),
    (["--target", "12", "--avoid", "A", "--avoid", "C"], "is to be avoided|is without all of"),
    (
        ["--target", "12", "--keep", "0:" + "A" * 70, "--gc", "40-50"],
        "the kept bases alone allow 0-10 G and C, 32-40 are asked for",
    ),
    (
        ["--target", "12", "--gc", "99-100", "--max-homopolymer", "1", "--avoid", "GC"],
        "GC content out of reach",
    ),
    (["--target", "12", "--gc", "0.401-0.402"], "no number of bases out of 80"),
    (["--target", "12", "--gc", "60-40"], "lowest first"),
    (["--target", "12", "--gc", "much"], "write LOWEST-HIGHEST"),
    (["--target", "12", "--max-homopolymer", "0"], "at least 1"),
    (["--target", "12", "--avoid", "EcoRX"], 'did you mean "EcoR'),
    (["--target", "12", "--keep", "3-9"], "keeps places of the sequences started from"),
    (["--target", "12", "--keep", "78:TATA"], "reaches beyond the insert of 80 bases"),
    (["--target", "20"], "20 outside 0..17"),
    (["--target", "2,12"], "2 outside 3..17, the range of the expression that the generator was trained on"),
    (["--target", "12", "--method", "greedy"], "uses no generator; drop -g"),
    (["--target", "12", "--calls", "9", "--best-of", "3"], "give one of them"),
    (["--target", "12", "--best-of", "0"], "must be at least 1"),
    (["--target", "12", "--steps", "0"], "steps is 0"),
    (["--target", "12", "--length", "90"], "the generator makes 80 bases"),
    (["--target", "12", "--seed", "-1"], "--seed -1"),
    (["--target", "12", "--emphasis", "0"], "--emphasis 0: above 0"),
    (["--target", "12", "--rc", "both"], "Invalid value for '--rc'"),
    (["--target", "12", "--engine", "null"], "a generator cannot run on it"),
    (["--target", "12", "--check", "MODELS"], "also among -m, which choose the designs"),
    (["--target", "12", "--check", "GENERATOR"], "is a generator"),
    (["--target", "12", "-m", "GENERATOR"], "is a generator"),
    (["--target", "12", "--fasta-out", "x.txt"], "a FASTA file's name ends in"),
    ([], "needs --target"),
    (["--mutation-curve"], "needs --from"),
    (["--mutation-curve", "--from", "STARTS", "--mutations", "9"], "write FIRST:LAST:STEP"),
    (["--mutation-curve", "--from", "STARTS", "--n", "5"], "at least 20"),
    (["--mutation-curve", "--from", "STARTS", "--target", "9"], "--target has no effect here"),
    (["--mutation-curve", "--from", "STARTS", "--report", "r"], "--report has no effect here"),
    (["--target", "12", "--mutations", "0:10:5"], "--mutations has no effect here"),
    (["--target", "12", "--plot", "x.png"], "--plot has no effect here: it goes with --mutation-curve"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), BAD, ids=lambda x: " ".join(x)[-40:] if isinstance(x, list) else ""
)
def test_bad_input_is_one_line_before_work_starts(
    cli: Cli, folder: Path, tmp_path: Path, arguments: list[str], message: str
) -> None:
    narrow = generator_contract(output=Output("bases", "bin", 3.0 if "2,12" in arguments else 0.0, 17.0))
    toy_generator(5, narrow).save(tmp_path / "g.safetensors")
    names = {
        "MODELS": folder / "models",
        "GENERATOR": tmp_path / "g.safetensors",
        "STARTS": folder / "starts.fa",
    }
    given_ = [names.get(a, a) for a in arguments]
    models = [] if "-m" in arguments else ["-m", folder / "models"]
    generator = [] if "--mutation-curve" in arguments else ["-g", tmp_path / "g.safetensors"]
    out = tmp_path / "d.parquet"
    ran = cli("design", *generator, *models, "-o", out, *given_)
    assert ran.code == 2, ran.err
    assert re.search(message, ran.err), ran.err
    assert "Traceback" not in ran.err
    assert (
        len([line for line in ran.err.splitlines() if line.startswith("legscore: ")]) == 1
        or "Invalid value" in ran.err
    )
    assert not out.exists()


def test_more_bad_input(cli: Cli, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "d.parquet"
    (tmp_path / "short.fa").write_text(">a\n" + "ACGT" * 20 + "\n>b\nACGT\n")
    (tmp_path / "n.fa").write_text(">a\n" + "ACGN" * 20 + "\n")
    (tmp_path / "without.fa").write_text(">a\n" + "ACGT" * 20 + "\n")
    toy_checkpoint(1, yeast_contract(output=Output("bins", "other", 0.0, 17.0))).save(
        tmp_path / "unit.safetensors"
    )
    generator = ["-g", folder / "g.safetensors"]
    for arguments, message in (
        (
            [*generator, "-m", folder / "models", "--from", tmp_path / "short.fa"],
            r"short.fa, row 2: .*\(too_short\)",
        ),
        ([*generator, "-m", folder / "models", "--from", tmp_path / "n.fa"], "n.fa, row 1: .*it holds an N"),
        *(
            (
                ["-m", folder / "models", "--method", method, option, value],
                f"{option} has no effect here: it is about the generator, which --method {method}",
            )
            for method, option, value in (
                *(("greedy", "--steps", 7), ("evolve", "--shift", 3), ("greedy", "--emphasis", 2)),
                *(("evolve", "--feed", "sample"), ("greedy", "--start-mutations", 4)),
            )
        ),
        (
            [*generator, "-m", folder / "models", "--from", tmp_path / "without.fa", "--keep", "TATAAA"],
            "0 has no such motif to keep|a has no such",
        ),
        ([*generator, "-m", tmp_path / "unit.safetensors"], "do not match: its scores are 'other'"),
        (
            ["-g", folder / "check.safetensors", "-m", folder / "models"],
            "is a predictor: it scores sequences and makes none",
        ),
        (["-m", folder / "models"], "needs a generator: -g GENERATOR"),
    ):
        ran = cli("design", *arguments, "--target", "9", "-o", out)
        assert ran.code == 2
        assert re.search(message, ran.err), ran.err
        assert not out.exists()
    with pytest.raises(LegscoreError, match="feed is 'hard'"):
        from legscore.generate.sample import Schedule

        Schedule(feed="hard")


def test_mutation_curve(cli: Cli, folder: Path, tmp_path: Path) -> None:
    """Sequences that are not random at first: identity falls as the process says, and scores come to look
    random."""
    pytest.importorskip("matplotlib")
    rng = np.random.default_rng(2)
    alike = [random_dna(rng, 80, "AAAAAAT") for _ in range(300)]
    (tmp_path / "alike.fa").write_text("".join(f">s{i}\n{text}\n" for i, text in enumerate(alike)))
    ran = cli(
        "design",
        "--mutation-curve",
        "--from",
        tmp_path / "alike.fa",
        "-m",
        folder / "models" / "m0.safetensors",
        "--mutations",
        "0:400:80",
        "--plot",
        tmp_path / "c.png",
        "-o",
        tmp_path / "c.csv",
        "--engine",
        "openvino",
        "--precision",
        "fp32",
    )
    assert ran.code == 0, ran.err
    rows = pyarrow.csv.read_csv(tmp_path / "c.csv").to_pylist()
    assert [row["n_mutations"] for row in rows] == [0, 80, 160, 240, 320, 400]
    assert rows[0]["identity"] == 1
    for row in rows:
        assert abs(row["identity"] - (0.25 + 0.75 * (1 - 1 / 80) ** row["n_mutations"])) < 0.02
    assert rows[0]["ks_random"] > 3 * rows[0]["ks_critical"]
    assert rows[0]["ks_random"] > rows[2]["ks_random"]
    assert rows[-1]["ks_random"] < 1.5 * rows[-1]["ks_critical"]
    assert rows[0]["correlation_with_start"] == 1
    assert "scores look random from" in ran.err
    assert (tmp_path / "c.png").read_bytes()[:4] == b"\x89PNG"


def test_mutating_on_is_mutating_more() -> None:
    """The curve goes on from one count to the next: 30 mutations and 50 more are 80."""
    codes = np.zeros((20_000, 20), dtype=np.uint8)
    for kind in ("draw4", "sub3"):
        rng = np.random.default_rng(1)
        twice = mutated(mutated(codes, 6, kind, rng), 10, kind, rng)
        once = mutated(codes, 16, kind, rng)
        assert abs((twice == 0).mean() - (once == 0).mean()) < 0.005
