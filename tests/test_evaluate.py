"""`legscore evaluate` from the command line: joins, groups, effects, classes, curves, calibration, and every
bad input."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, one_line, random_dna

from legscore.evaluate.calibrate import calibrate, conformal_quantile, fit_line
from legscore.run.calibration import COLUMNS, checksum_of_entries, load_calibration

Cli = Callable[..., Ran]


@pytest.fixture
def levels(tmp_path: Path) -> Path:
    """200 measured rows, two predictions, two media, twenty clusters, some holes."""
    rng = np.random.default_rng(0)
    truth = rng.normal(8, 3, 200)
    frame = pl.DataFrame({
        "id": [f"s{i}" for i in range(200)], "measured": truth, "good": truth + rng.normal(size=200),
        "poor": truth + rng.normal(0, 3, 200), "medium": ["complex", "defined"] * 100, "promoter": [f"p{i // 10}" for i in range(200)],
    })  # fmt: skip
    frame = frame.with_columns(
        measured=pl.when(pl.int_range(200) < 5).then(None).otherwise(pl.col("measured"))
    )
    path = tmp_path / "levels.parquet"
    frame.write_parquet(path)
    return path


def results(path: Path) -> dict[str, Any]:
    def no_nan(text: str) -> float:
        raise AssertionError(f"{text} is no JSON")

    held: dict[str, Any] = json.loads(path.read_text(), parse_constant=no_nan)
    return held


def test_levels(cli: Cli, levels: Path, tmp_path: Path) -> None:
    ran = cli(
        "evaluate",
        levels,
        "--truth",
        "measured",
        "--prediction",
        "good",
        "--prediction",
        "poor",
        "--cluster",
        "promoter",
        "--by",
        "medium",
        "--bootstrap",
        200,
        "--json",
        tmp_path / "e.json",
        "--csv",
        tmp_path / "e.csv",
    )
    assert ran.code == 0, ran.err
    assert "195 of 200 rows; dropped: 5 measured missing" in ran.out
    assert "resamples of clusters (promoter)" in ran.out
    assert "Hittner-May-Silver 2003, the correlations share measured" in ran.out
    assert "assume independent rows" in ran.out
    held = results(tmp_path / "e.json")
    assert [g["name"] for g in held["groups"]] == ["medium=complex", "medium=defined"]
    frame = pl.read_parquet(levels).filter(pl.col("measured").is_not_null(), medium="complex")
    found = {(m["prediction"], m["metric"]): m for m in held["groups"][0]["metrics"]}
    assert found["good", "pearson"]["value"] == pytest.approx(
        np.corrcoef(frame["measured"], frame["good"])[0, 1]
    )
    assert (
        found["good", "pearson"]["low"] < found["good", "pearson"]["value"] < found["good", "pearson"]["high"]
    )
    comparison = held["groups"][0]["comparisons"][0]
    assert comparison["difference"] > 0
    assert comparison["boot_p"] < 0.05
    with open(tmp_path / "e.csv") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["section"] for row in rows} == {"metric", "comparison"}
    assert len([row for row in rows if row["section"] == "metric"]) == 2 * 2 * 4


def test_text_gives_the_same_as_parquet(cli: Cli, levels: Path, tmp_path: Path) -> None:
    pl.read_parquet(levels).write_csv(tmp_path / "levels.csv", null_value="NA")
    outs = []
    for path in (levels, tmp_path / "levels.csv"):
        ran = cli("evaluate", path, "--truth", "measured", "--prediction", "good", "--bootstrap", 50)
        assert ran.code == 0, ran.err
        outs.append(ran.out)
    assert outs[0] == outs[1]


def test_a_join_keeps_rows_apart_from_their_order(cli: Cli, levels: Path, tmp_path: Path) -> None:
    frame = pl.read_parquet(levels)
    frame.select("id", "measured").write_parquet(tmp_path / "truth.parquet")
    other = frame.select("id", score="good").sample(fraction=1, shuffle=True, seed=1)[:-3]
    other.write_csv(tmp_path / "a.csv")
    frame.select("id", score="poor").write_parquet(tmp_path / "b.parquet")
    ran = cli(
        "evaluate",
        tmp_path / "truth.parquet",
        tmp_path / "a.csv",
        tmp_path / "b.parquet",
        "--key",
        "id",
        "--truth",
        "measured",
        "--prediction",
        "a:score",
        "--prediction",
        "b:score",
        "--bootstrap",
        0,
        "--json",
        tmp_path / "j.json",
    )
    assert ran.code == 0, ran.err
    assert "3 no partner in a.csv" in ran.out
    kept = frame.filter(pl.col("measured").is_not_null(), pl.col("id").is_in(other["id"].to_list()))
    found = {
        m["prediction"]: m["value"]
        for m in results(tmp_path / "j.json")["groups"][0]["metrics"]
        if m["metric"] == "pearson"
    }
    assert found["a:score"] == pytest.approx(np.corrcoef(kept["measured"], kept["good"])[0, 1])
    assert found["b:score"] == pytest.approx(np.corrcoef(kept["measured"], kept["poor"])[0, 1])


def test_one_truth_for_each_prediction_takes_silver(cli: Cli, levels: Path, tmp_path: Path) -> None:
    frame = pl.read_parquet(levels).with_columns(second=pl.col("measured") + pl.col("poor"))
    frame.write_parquet(tmp_path / "two.parquet")
    pairs = ("--truth", "measured", "--truth", "second", "--prediction", "good", "--prediction", "poor")
    ran = cli("evaluate", tmp_path / "two.parquet", *pairs, "--bootstrap", 0)
    assert ran.code == 0, ran.err
    assert "Silver-Hittner-May 2004, no variable in common" in ran.out


def test_rows_without_a_score_are_counted_by_status(cli: Cli, tmp_path: Path) -> None:
    table = pa.table(
        {
            "measured": [1.0, 2, 3, 4, 5],
            "score": [1.0, 2.5, None, None, 4.5],
            "status": ["ok", "ok", "too_long", "edge", "ok"],
        }
    )
    pq.write_table(table, tmp_path / "s.parquet")
    ran = cli("evaluate", tmp_path / "s.parquet", "--truth", "measured", "--bootstrap", 0)
    assert ran.code == 0, ran.err
    assert "3 of 5 rows" in ran.out
    assert "1 status edge" in ran.out
    assert "1 status too_long" in ran.out


@pytest.fixture
def effects(tmp_path: Path) -> Path:
    """Effects of 1-3 substitutions counted from sequences, with replicates, members and an SD."""
    rng = np.random.default_rng(4)
    refs = [random_dna(rng, 30) for _ in range(240)]
    alts = []
    for i, ref in enumerate(refs):
        letters = list(ref)
        for at in rng.choice(30, 1 + i % 3, replace=False):
            letters[at] = "ACGT"[("ACGT".index(letters[at]) + 1) % 4]
        alts.append("".join(letters))
    signal = rng.normal(size=240)
    first, second = (signal + rng.normal(0, 0.4, 240) for _ in range(2))
    members = signal[:, None] + rng.normal(0, 0.8, (240, 4))
    frame = pl.DataFrame({
        "ref_sequence": refs, "alt_sequence": alts, "delta": (first + second) / 2, "rep1": first, "rep2": second,
        "effect": members.mean(axis=1), "effect_sd": members.std(axis=1, ddof=1), "promoter": [f"p{i // 6}" for i in range(240)],
        "effect_per_model": members.tolist(), "flipped": -members[:, 0],
    })  # fmt: skip
    path = tmp_path / "effects.parquet"
    frame.write_parquet(path)
    return path


def test_effects(cli: Cli, effects: Path, tmp_path: Path) -> None:
    ran = cli(
        "evaluate",
        effects,
        "--variant",
        "--truth",
        "delta",
        "--prediction",
        "effect",
        "--prediction",
        "flipped",
        "--replicate",
        "rep1",
        "--replicate",
        "rep2",
        "--bootstrap",
        60,
        "--json",
        tmp_path / "v.json",
    )
    assert ran.code == 0, ran.err
    held = results(tmp_path / "v.json")
    assert [(g["name"], g["n"]) for g in held["groups"]] == [
        ("all", 240),
        *((f"substitutions={k}", 80) for k in (1, 2, 3)),
    ]
    found = {(m["prediction"], m["metric"]): m for m in held["groups"][0]["metrics"]}
    assert (
        found["effect", "sign_agreement"]["value"] > 0.85 > 0.5 > found["flipped", "sign_agreement"]["value"]
    )
    assert (
        found["effect", "auroc"]["low"]
        <= found["effect", "auroc"]["value"]
        <= found["effect", "auroc"]["high"]
    )
    assert 0.25 < held["noise"]["delta"]["sd"] < 0.32
    assert 0.9 < held["noise"]["delta"]["ceiling"] < 1
    assert "flipped: Pearson is -0." in ran.out
    assert "ref − alt" in ran.out


def test_effects_without_noise_say_what_to_give(cli: Cli, effects: Path) -> None:
    ran = cli("evaluate", effects, "--variant", "--truth", "delta", "--bootstrap", 0)
    assert ran.code == 0
    assert ran.out.count("no threshold: give --replicate twice or --noise-sd") == 4  # once in each group
    assert "sign, AUROC, AUPRC, AUROC up, AUROC down of effect: no threshold" in ran.out
    ran = cli("evaluate", effects, "--variant", "--truth", "delta", "--bootstrap", 0, "--noise-sd", 0.3)
    assert "no threshold" not in ran.out
    assert "±0.588" in ran.out
    beyond = int((pl.read_parquet(effects)["delta"].abs() > 0.3 * 1.96).sum())
    assert f"{beyond} of 240 rows; by chance AUPRC is {beyond / 240:.4f}" in ran.out


def test_replicates_of_another_quantity_are_said(cli: Cli, effects: Path, tmp_path: Path) -> None:
    """Noise of two replicates is that of their mean; a truth that is something else has another."""
    given = ("--variant", "--bootstrap", 0, "--replicate", "rep1", "--replicate", "rep2", "--truth")
    assert "is not the mean" not in cli("evaluate", effects, *given, "delta").out
    frame = pl.read_parquet(effects).with_columns(other=2 * pl.col("delta"), moved=pl.col("delta") + 1)
    frame.write_parquet(tmp_path / "o.parquet")
    assert (
        "note: other is not the mean of rep1 and rep2"
        in cli("evaluate", tmp_path / "o.parquet", *given, "other").out
    )
    # a shift is no noise
    assert "is not the mean" not in cli("evaluate", tmp_path / "o.parquet", *given, "moved").out


def test_where_compares_numbers_as_numbers(cli: Cli, levels: Path, tmp_path: Path) -> None:
    pl.read_parquet(levels).with_columns(n=(pl.int_range(200) % 3).cast(pl.Float64)).write_parquet(
        tmp_path / "n.parquet"
    )
    given = (
        "evaluate",
        tmp_path / "n.parquet",
        "--truth",
        "measured",
        "--prediction",
        "good",
        "--bootstrap",
        0,
        "--where",
    )
    assert "rows: 65 of 200 rows" in cli(*given, "n=1").out
    assert cli(*given, "n=1").out == cli(*given, "n=1.0").out.replace("n is not 1.0", "n is not 1")
    bad(cli(*given, "n=one"), "n is not one; n holds 0.0, 1.0, 2.0")


def test_ensemble_curve(cli: Cli, effects: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pictures need legscore[report]")
    ran = cli(
        "evaluate",
        effects,
        "--truth",
        "delta",
        "--prediction",
        "effect",
        "--ensemble-curve",
        "--bootstrap",
        0,
        "--plot",
        tmp_path / "c.svg",
        "--json",
        tmp_path / "c.json",
    )
    assert ran.code == 0, ran.err
    assert "which is no standard error" in ran.out
    points = [p for p in results(tmp_path / "c.json")["ensemble_curve"] if p["metric"] == "pearson"]
    whole = results(tmp_path / "c.json")["groups"][0]["metrics"][0]["value"]
    assert points[-1]["k"] == 4
    assert points[-1]["first"] == pytest.approx(whole)
    assert "<svg" in (tmp_path / "c.svg").read_text()
    ran = cli("plot", "ensemble-curve", tmp_path / "c.json", "-o", tmp_path / "c.png")
    assert ran.code == 0, ran.err
    assert (tmp_path / "c.png").read_bytes()[1:4] == b"PNG"


def test_class_weights_as_in_the_challenge(cli: Cli, levels: Path, tmp_path: Path) -> None:
    frame = pl.read_parquet(levels).with_columns(
        kind=pl.when(pl.int_range(200) % 4 == 0).then(pl.lit("high;odd")).otherwise(pl.lit("low"))
    )
    frame = frame.filter(pl.col("measured").is_not_null())
    frame.write_parquet(tmp_path / "k.parquet")
    pairs = [(i, i + 1) for i in range(0, 100, 2)]
    pl.DataFrame({"alt_pos": [a for a, _ in pairs], "ref_pos": [r for _, r in pairs]}).write_csv(
        tmp_path / "snv.csv"
    )
    (tmp_path / "w.csv").write_text("class,weight,rows\nall,1,\nhigh,0.3,\nlow,0.5,\nSNVs,1.25,snv.csv\n")
    ran = cli(
        "evaluate",
        tmp_path / "k.parquet",
        "--truth",
        "measured",
        "--prediction",
        "good",
        "--bootstrap",
        0,
        "--class-weights",
        tmp_path / "w.csv",
        "--class",
        "kind",
        "--json",
        tmp_path / "k.json",
    )
    assert ran.code == 0, ran.err
    t, p = frame["measured"].to_numpy(), frame["good"].to_numpy()
    high = frame["kind"].to_numpy() == "high;odd"
    alt, ref = np.array(pairs).T
    r = [
        np.corrcoef(x, y)[0, 1]
        for x, y in ((t, p), (t[high], p[high]), (t[~high], p[~high]), (t[alt] - t[ref], p[alt] - p[ref]))
    ]
    weights = np.array([1, 0.3, 0.5, 1.25])
    last = results(tmp_path / "k.json")["classes"][-1]
    assert last["name"] == "weighted score"
    assert last["pearson"] == pytest.approx(weights @ np.square(r) / weights.sum())


# Calibration


def scored_effects(path: Path, effects: Path, models: list[str], engine: str = "openvino") -> None:
    """The effects as if `legscore run` had written them with these models."""
    table = pq.read_table(effects).drop_columns(["effect_per_model"])
    record = {
        "models": [{"sha256": sha} for sha in models],
        "engine": {"engine": engine},
        "options": {"rc": "construct", "singleton": 0},
    }
    pq.write_table(table.replace_schema_metadata({"legscore": json.dumps(record)}), path)


def test_calibration_from_evaluate_to_run(cli: Cli, effects: Path, toy_models: Path, tmp_path: Path) -> None:
    """Fitted on scores of an ensemble, applied to a run of it, refused for fewer members and for other
    strands."""
    rng = np.random.default_rng(0)
    pairs = pa.table(
        {
            "ref_sequence": [random_dna(rng, 60) for _ in range(120)],
            "alt_sequence": [random_dna(rng, 60) for _ in range(120)],
        }
    )
    pairs = pairs.append_column("promoter", pa.array([i // 4 for i in range(120)]))
    pq.write_table(pairs, tmp_path / "pairs.parquet")
    ran = cli(
        "run",
        tmp_path / "pairs.parquet",
        "-m",
        toy_models,
        "-o",
        tmp_path / "s.parquet",
        "--engine",
        "openvino",
        "--keep",
        "promoter",
    )
    assert ran.code == 0, ran.err
    scored = pq.read_table(tmp_path / "s.parquet")
    effect = scored["effect"].to_numpy()
    measured = 0.5 * effect + rng.normal(0, 0.3 * effect.std(), 120)
    pq.write_table(scored.append_column("measured", pa.array(measured)), tmp_path / "m.parquet")
    asked = (
        "--truth",
        "measured",
        "--cluster",
        "promoter",
        "--bootstrap",
        0,
        "--calibrate",
        "-o",
        tmp_path / "cal.json",
    )
    ran = cli("evaluate", tmp_path / "m.parquet", *asked)
    assert ran.code == 0, ran.err
    assert "coverage on held-out clusters" in ran.out
    found, _ = load_calibration(str(tmp_path / "cal.json"))
    assert found.slope == pytest.approx(0.5, abs=0.1)
    again = (
        "run",
        tmp_path / "pairs.parquet",
        "-o",
        tmp_path / "t.parquet",
        "--calibration",
        tmp_path / "cal.json",
        "--engine",
        "openvino",
    )
    ran = cli(*again, "-m", toy_models)
    assert ran.code == 0, ran.err
    table = pq.read_table(tmp_path / "t.parquet")
    low, high = found.limits(table["effect"].to_numpy(), table["effect_sd"].to_numpy())
    assert np.allclose(table["effect_low"], low, atol=1e-5)
    assert np.allclose(table["effect_high"], high, atol=1e-5)
    inside = (table["effect_low"].to_numpy() <= measured) & (measured <= table["effect_high"].to_numpy())
    assert inside.mean() > 0.7  # a quantile of 60 rows
    assert json.loads(table.schema.metadata[b"legscore"])["calibration"]["coverage"] == 0.9
    again = (*again, "--force")
    ran = cli(*again, "-m", toy_models / "member0.safetensors")
    assert ran.code == 2
    assert "belongs to one ensemble" in ran.err
    ran = cli(*again, "-m", toy_models, "--rc", "none")
    assert ran.code == 2
    assert "--rc construct, this run has none" in ran.err
    made = {"variants": {"sequence_is": "window", "context": "genome", "length": 60}}
    genome = pairs.replace_schema_metadata({"legscore": json.dumps(made)})
    pq.write_table(genome, tmp_path / "genome.parquet")
    ran = cli("run", tmp_path / "genome.parquet", *again[2:], "-m", toy_models)
    assert ran.code == 2
    assert "--context construct, this run has genome (60 bases)" in ran.err
    held = json.loads((tmp_path / "cal.json").read_text())
    del held["settings"]["context"], held["sha256"]  # as earlier versions wrote it
    (tmp_path / "cal.json").write_text(json.dumps({**held, "sha256": checksum_of_entries(held)}))
    assert cli(*again, "-m", toy_models).code == 0
    pq.write_table(pa.table({"sequence": ["ACGT"]}), tmp_path / "one.parquet")
    ran = cli(
        "run",
        tmp_path / "one.parquet",
        "-m",
        toy_models,
        "-o",
        tmp_path / "o.parquet",
        "--calibration",
        tmp_path / "cal.json",
    )
    assert ran.code == 2
    assert "single sequences" in ran.err


def test_coverage_holds_where_errors_follow_the_sd_and_where_they_do_not() -> None:
    rng = np.random.default_rng(1)
    n, clusters = 6000, np.repeat(np.arange(300), 20)
    x, sd = rng.normal(size=n), rng.uniform(0.1, 1.0, n)
    for error, floor_wins in ((sd, False), (np.full(n, 0.5), True)):
        y = 0.8 * x + error * rng.normal(size=n)
        found = calibrate(x, y, sd, clusters, {"models": [{"sha256": "a"}], "options": {}}, 0.9, 0, {})
        assert found.slope == pytest.approx(0.8, abs=0.03)
        checked = found.fit["held_out"]
        assert checked["coverage"] == pytest.approx(0.9, abs=0.02)
        assert (found.floor > 1) == floor_wins
        assert max(checked["by_sd"]) - min(checked["by_sd"]) < 0.06


def test_reversed_effects_give_the_same_line() -> None:
    """An effect and its reverse are one datum."""
    rng = np.random.default_rng(1)
    x, y, sd = rng.normal(1, 1, 50), rng.normal(1, 1, 50), rng.uniform(0.1, 1, 50)
    flips = rng.choice([-1.0, 1.0], 50)
    one, other = fit_line(x, y, sd), fit_line(x * flips, y * flips, sd)
    assert one.slope == pytest.approx(other.slope)
    assert one.floor == pytest.approx(other.floor)


def test_conformal_quantile_counts_one_more() -> None:
    scores = np.arange(1.0, 10.0)  # nine scores: the 90 % quantile is the (9 + 1) × 0.9 = 9th
    assert conformal_quantile(scores, 0.9) == 9.0
    assert conformal_quantile(scores, 0.5) == 5.0
    assert math.isinf(conformal_quantile(scores, 0.95))


# Bad input: one clear line, exit code 2


def bad(ran: Ran, *words: str) -> None:
    assert ran.code == 2
    assert len(ran.err.strip().splitlines()) == 1, ran.err
    assert "Traceback" not in ran.err
    for word in words:
        assert word in ran.err, ran.err


def test_missing_columns_suggest_the_nearest(cli: Cli, levels: Path) -> None:
    bad(
        cli("evaluate", levels, "--truth", "mesured", "--prediction", "good"),
        "--truth mesured",
        'did you mean "measured"',
    )
    bad(
        cli("evaluate", levels, "--truth", "measured", "--prediction", "god"),
        "--prediction god",
        'did you mean "good"',
    )
    bad(
        cli("evaluate", levels, "--truth", "measured", "--prediction", "good", "--by", "media"),
        "--by media",
        '"medium"',
    )
    bad(cli("evaluate", levels, "--truth", "measured"), "neither effect nor score", "--prediction")
    bad(
        cli("evaluate", levels, "--truth", "measured", "--prediction", "good", "--ensemble-curve"),
        "good_per_model",
        "--per-model",
    )


def test_duplicate_keys(cli: Cli, levels: Path, tmp_path: Path) -> None:
    frame = pl.read_parquet(levels)
    pl.concat([frame, frame[:2]]).select("id", score="good").write_csv(tmp_path / "twice.csv")
    names = ("--truth", "measured", "--prediction", "score")
    bad(
        cli("evaluate", levels, tmp_path / "twice.csv", "--key", "id", *names),
        "twice.csv",
        "stands in more than one row",
        "1 others",
    )
    bad(cli("evaluate", levels, tmp_path / "twice.csv", *names), "--key", "id")
    bad(
        cli("evaluate", levels, tmp_path / "twice.csv", "--key", "ids", *names),
        "--key ids",
        'did you mean "id"',
    )


def test_ambiguous_column(cli: Cli, levels: Path, tmp_path: Path) -> None:
    pl.read_parquet(levels).write_parquet(tmp_path / "other.parquet")
    ran = cli(
        "evaluate",
        levels,
        tmp_path / "other.parquet",
        "--key",
        "id",
        "--truth",
        "measured",
        "--prediction",
        "levels:good",
    )
    bad(ran, "levels:measured, other:measured")


def test_non_numeric_truth(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("measured,score\n1,1\n2,2\nhigh,3\nlow,4\n")
    bad(
        cli("evaluate", tmp_path / "t.csv", "--truth", "measured"),
        "--truth measured",
        "row 3",
        "'high'",
        "1 more",
    )


def test_no_rows_left(cli: Cli, levels: Path, tmp_path: Path) -> None:
    names = ("--truth", "measured", "--prediction", "good")
    bad(
        cli("evaluate", levels, *names, "--where", "medium=acid"),
        "200 medium is not acid; medium holds complex, defined",
    )
    (tmp_path / "n.csv").write_text("measured,score\n,1\nNA,2\n")
    bad(cli("evaluate", tmp_path / "n.csv", "--truth", "measured"), "no rows are left", "2 measured missing")
    (tmp_path / "m.csv").write_text("measured,score\n1,\n2,nan\n")
    bad(cli("evaluate", tmp_path / "m.csv", "--truth", "measured"), "no rows are left", "score")


def test_few_or_constant_rows_are_reasons_not_crashes(cli: Cli, tmp_path: Path) -> None:
    for rows, why in (
        (["1,1,2"], "1 rows are too few"),
        (["1,5,2", "2,5,3", "3,5,1"], "constant"),
        (["1,1,2", "2,2,1", "3,3,5"], "n is 3"),
    ):
        (tmp_path / "f.csv").write_text("\n".join(["measured,a,b", *rows]) + "\n")
        ran = cli(
            "evaluate",
            tmp_path / "f.csv",
            "--truth",
            "measured",
            "--prediction",
            "a",
            "--prediction",
            "b",
            "--bootstrap",
            20,
        )
        assert ran.code == 0, ran.err
        assert why in ran.out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--truth", "measured", "--truth", "good", "--prediction", "poor"), "one for all, or one for each"),
        (("--truth", "measured", "--prediction", "measured"), "truth itself"),
        (("--truth", "measured", "--prediction", "good", "--prediction", "good"), "twice"),
        (("--truth", "measured", "--prediction", "good", "--where", "medium"), "COLUMN=VALUE"),
        (("--truth", "measured", "--prediction", "good", "--replicate", "poor"), "two replicates"),
        (("--truth", "measured", "--prediction", "good", "--calibrate"), "-o FILE"),
        (("--truth", "measured", "--prediction", "good", "-o", "x.json"), "--calibrate"),
        (("--truth", "measured", "--prediction", "good", "--plot", "x.png"), "--ensemble-curve"),
        (
            ("--truth", "measured", "--prediction", "good", "--ensemble-curve", "--plot", "x.gif"),
            ".png, .svg, .pdf",
        ),
        (("--truth", "measured", "--prediction", "good", "--json", "no/folder/x.json"), "does not exist"),
        (("--truth", "measured", "--prediction", "promoter"), "which is no number"),
    ],
)
def test_options_that_do_not_go_together(
    cli: Cli, levels: Path, arguments: tuple[str, ...], word: str
) -> None:
    bad(cli("evaluate", levels, *arguments), word)


def test_calibration_refusals(cli: Cli, effects: Path, tmp_path: Path) -> None:
    asked = ("--truth", "delta", "--bootstrap", 0, "--calibrate", "-o", tmp_path / "cal.json")
    bad(cli("evaluate", effects, *asked), "do not say which models")
    scored_effects(tmp_path / "zero.parquet", effects, ["a"], engine="null")
    bad(cli("evaluate", tmp_path / "zero.parquet", *asked), "null engine")
    scored_effects(tmp_path / "s.parquet", effects, ["a", "b"])
    bad(cli("evaluate", tmp_path / "s.parquet", *asked, "--coverage", 0.9999), "too few")
    assert not (tmp_path / "cal.json").exists()
    assert cli("evaluate", tmp_path / "s.parquet", *asked).code == 0
    for change, word in (
        ({"format": "x"}, "no calibration"),
        ({"slope": "1"}, "slope"),
        ({"models": []}, "hashes"),
        ({"quantile": -1}, "must lie between 0"),
    ):
        held = json.loads((tmp_path / "cal.json").read_text()) | change
        (tmp_path / "b.json").write_text(json.dumps(held | {"sha256": checksum_of_entries(held)}))
        ran = cli(
            "run",
            effects,
            "-o",
            tmp_path / "o.parquet",
            "--engine",
            "null",
            "--keep",
            "none",
            "--calibration",
            tmp_path / "b.json",
        )
        assert ran.code == 2
        assert word in ran.err.splitlines()[-1]
    assert COLUMNS == ("effect_low", "effect_high")


def test_class_weight_errors(cli: Cli, levels: Path, tmp_path: Path) -> None:
    asked = (
        "evaluate",
        levels,
        "--truth",
        "measured",
        "--prediction",
        "good",
        "--bootstrap",
        0,
        "--class-weights",
        tmp_path / "w.csv",
    )
    for text, words in (
        ("class,weight\nhigh,1\n", ("nothing says", "--class")),
        ("class,wait\nhigh,1\n", ("weight", "did you mean")),
        ("class,weight\nall,-1\n", ("0 or more",)),
        ("class,weight\nall,0\n", ("sum to 0",)),
        ("class,weight\nall,1\nall,2\n", ("twice",)),
        ("class,weight,rows\nx,1,missing.csv\n", ("missing.csv",)),
    ):
        (tmp_path / "w.csv").write_text(text)
        bad(cli(*asked), *words)
    (tmp_path / "w.csv").write_text("class,weight\ncomplx,1\n")
    bad(cli(*asked, "--class", "medium"), "complx", 'did you mean "complex"')


# Published comparisons, where the tables are


def test_published_correlations(shared: Path) -> None:
    from legscore.evaluate.evaluation import evaluate
    from legscore.evaluate.options import EvaluationOptions

    reference = pl.read_csv(shared / "data/correlations.csv").filter(
        dataset="native", medium="complex", subset="all"
    )
    models = reference["model"].to_list()
    where = [("medium", "complex")]
    found = evaluate(
        EvaluationOptions(
            [str(shared / "data/predictions_native.parquet")],
            ["measured"],
            models,
            where=where,
            bootstrap=1000,
        )
    )
    values = {(m.prediction, m.metric): m for m in found.groups[0].metrics}
    for row in reference.iter_rows(named=True):
        for name in ("pearson", "spearman", "rmse"):
            assert values[row["model"], name].value == pytest.approx(row[name], abs=1e-6)
        assert values[row["model"], "pearson"].n == row["n"]
        assert values[row["model"], "pearson"].low == pytest.approx(row["pearson_lo95"], abs=0.003)


@pytest.mark.parametrize(
    ("given", "option"),
    [
        (("--coverage", 0.8), "--coverage"),
        (("--substitutions", "id"), "--substitutions"),
        (("--class", "medium"), "--class"),
        (("--noise-z", 2), "--noise-z"),
        (("--bootstrap", 0, "--confidence", 0.9), "--confidence"),
        (("--key", "id"), "--key"),
    ],
)
def test_options_without_effect_are_refused(
    cli: Cli, effects: Path, given: tuple[Any, ...], option: str
) -> None:
    ran = cli("evaluate", effects, "--truth", "delta", "--prediction", "effect", *given)
    one_line(ran, f"{option} has no effect here")
