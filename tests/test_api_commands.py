"""What commands do, from Python: evaluation, calibration, design, import, pictures; to the same bytes."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import random_dna

import legscore
from legscore.errors import InputError, LegscoreError, OutputError

RNG = np.random.default_rng(5)
ROWS = 240
MEASURED = RNG.normal(size=ROWS)
TABLE = pa.table(
    {
        "id": [f"r{i}" for i in range(ROWS)],
        "promoter": [f"p{i // 4}" for i in range(ROWS)],
        "measured": MEASURED,
        "score": (MEASURED + RNG.normal(size=ROWS)).astype(np.float32),
        "other": MEASURED + 2 * RNG.normal(size=ROWS),
        "medium": ["a", "b"] * (ROWS // 2),
    }
)


def test_evaluation_is_that_of_the_command(tmp_path: Path, cli: Any) -> None:
    """From a table and from a file: the same JSON, the same lines; metrics by name, a table of all."""
    pytest.importorskip("polars")
    pq.write_table(TABLE, tmp_path / "the table")
    given = {"truths": "measured", "predictions": ["score", "other"], "by": "medium", "bootstrap": 200}
    ran = cli(
        *("evaluate", tmp_path / "the table", "--truth", "measured", "--prediction", "score"),
        *("--prediction", "other", "--by", "medium", "--bootstrap", 200, "--json", tmp_path / "c.json"),
    )
    assert ran.code == 0, ran.err
    results = legscore.evaluate_predictions(TABLE, **given, json=tmp_path / "p.json", csv=tmp_path / "p.csv")
    by_command, by_function = (json.loads((tmp_path / name).read_text()) for name in ("c.json", "p.json"))
    by_command["options"].pop("paths")
    assert by_function["options"].pop("paths") == ["the table"]
    assert by_command == by_function
    assert str(results).splitlines() == ran.out.splitlines()
    assert "<pre>" in results._repr_html_()
    groups = [group.name for group in results.groups]
    assert groups == ["medium=a", "medium=b"]
    found = results.metric("pearson", "score", group=1)
    where = legscore.evaluate_predictions(
        TABLE, truths="measured", predictions="score", where={"medium": "b"}, bootstrap=0
    )
    assert where.metric("pearson").value == pytest.approx(found.value)
    with pytest.raises(KeyError, match="no pearson of nothing; there are pearson, spearman, .* of score"):
        results.metric("pearson", "nothing")
    table = results.to_arrow()
    assert table.num_rows == len((tmp_path / "p.csv").read_text().splitlines()) - 1
    assert table.schema.field("value").type == pa.float64()
    assert (
        legscore.evaluate_predictions(TABLE, truths="measured", bootstrap=0).metric("mae").prediction
        == "score"
    )


def test_evaluation_joins_tables_and_files(tmp_path: Path) -> None:
    polars = pytest.importorskip("polars")
    pq.write_table(TABLE.select(["id", "score"]), tmp_path / "s.parquet")
    truths = polars.from_arrow(TABLE.select(["id", "measured", "score"])).reverse()
    joined = legscore.evaluate_predictions(
        {"t": truths, "s": tmp_path / "s.parquet"},
        truths="measured", predictions="s:score", keys="id", bootstrap=0,
    )  # fmt: skip
    alone = legscore.evaluate_predictions(
        TABLE.to_reader(), truths="measured", predictions="score", bootstrap=0
    )
    assert joined.metric("pearson").value == pytest.approx(alone.metric("pearson").value)


@pytest.mark.parametrize(
    ("data", "more", "message"),
    [
        ({"measured": [1.0], "score": [1.0]}, {}, "a list is no table: pass a table of polars"),
        ([TABLE, TABLE], {}, "data is a list: pass several tables as {name: table}"),
        (TABLE, {"truths": "measurd"}, r"the table has no such column \(did you mean \"measured\"\?\)"),
        (TABLE, {"truths": "promoter"}, "row 1 holds 'p0', which is no number"),
        (TABLE, {"noise_z": 3.0}, "noise_z has no effect here: it goes with replicates or noise_sd"),
        (TABLE, {"plot": "a.png"}, "plot has no effect here: it goes with curve=True"),
        (
            TABLE,
            {"curve": True},
            r"curve=True: no file has score_per_model; legscore.score_file\(per_model=True\)",
        ),
        (TABLE, {"keys": "id"}, "keys has no effect here: it goes with several tables"),
    ],
)
def test_evaluations_that_cannot_be(data: Any, more: dict[str, Any], message: str) -> None:
    pytest.importorskip("polars")
    with pytest.raises(LegscoreError, match=message):
        legscore.evaluate_predictions(data, **{"truths": "measured", "bootstrap": 0, **more})


def test_calibration_from_tables(toy_models: Path, tmp_path: Path, cli: Any) -> None:
    """Scored, calibrated and scored again without a file of scores; the command fits the same."""
    pytest.importorskip("polars")
    texts = [random_dna(RNG, 80) for _ in range(60)]
    alts = [t[:9] + "ACGT"["CGTA".index(t[9])] + t[10:] for t in texts]
    rows = pa.table(
        {"ref_sequence": texts, "alt_sequence": alts, "promoter": [f"p{i // 2}" for i in range(60)]}
    )
    with legscore.load_ensemble(toy_models, engine="openvino", precision="fp32") as ensemble:
        scored = ensemble.score_table(rows).read_all()
        noisy = np.array(scored["effect"]) + RNG.normal(size=60)
        scored = scored.append_column("measured", pa.array(noisy))
        found = legscore.calibrate_effects(scored, tmp_path / "c.json", truth="measured", cluster="promoter")
        assert 0.5 < found.fit["held_out"]["coverage"] <= 1
        with_limits = ensemble.score_table(rows, calibration=str(tmp_path / "c.json")).read_all()
    assert {"effect_low", "effect_high"} <= set(with_limits.schema.names)
    pq.write_table(scored, tmp_path / "s.parquet")
    ran = cli(
        *(
            "evaluate",
            tmp_path / "s.parquet",
            "--truth",
            "measured",
            "--prediction",
            "effect",
            "--bootstrap",
            0,
        ),
        *("--cluster", "promoter", "--calibrate", "-o", tmp_path / "by_command.json"),
    )
    assert ran.code == 0, ran.err
    assert (tmp_path / "by_command.json").read_bytes() == (tmp_path / "c.json").read_bytes()
    with pytest.raises(OutputError, match="is there already; choose another output, or add force=True"):
        legscore.calibrate_effects(scored, tmp_path / "c.json", truth="measured")
    with pytest.raises(InputError, match="coverage is 90; it must lie between 0 and 1"):
        legscore.calibrate_effects(scored, tmp_path / "d.json", truth="measured", coverage=90)


def test_designs_are_those_of_the_command(toy_model: Path, tmp_path: Path, cli: Any) -> None:
    given = (
        "--method",
        "evolve",
        "--target",
        "9,12",
        "--n",
        4,
        "--calls",
        40,
        "--avoid",
        "EcoRI",
        "--gc",
        "30-60",
    )
    ran = cli("design", *given, "-m", toy_model, "-o", tmp_path / "c.csv", "--precision", "fp32")
    assert ran.code == 0, ran.err
    record = legscore.design_sequences(
        tmp_path / "p.csv", target=[9, 12], method="evolve", n=4, calls=40, avoid="EcoRI", gc=(0.3, 0.6),
        models=toy_model, precision="fp32", say=(said := []).append,
    )  # fmt: skip
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "c.csv").read_bytes()
    assert record["designs"] == 4
    assert repr(record).startswith("<Record of 4 designs; ")
    assert "designs: 4" in said
    with pytest.raises(InputError, match="gc is '30-60'; it must be two numbers, lowest first"):
        legscore.design_sequences(tmp_path / "q.csv", target=9, method="evolve", gc="30-60")
    starts = tmp_path / "s.fa"
    starts.write_text("".join(f">s{i}\n{random_dna(RNG, 80)}\n" for i in range(30)))
    lines = legscore.mutation_curve(
        starts, tmp_path / "m.csv", models=toy_model, mutations="0:20:10", engine="openvino"
    )
    ran = cli(
        *("design", "--mutation-curve", "--from", starts, "-m", toy_model, "--mutations", "0:20:10"),
        *("--engine", "openvino", "-o", tmp_path / "n.csv"),
    )
    assert ran.code == 0, ran.err
    assert (tmp_path / "m.csv").read_bytes() == (tmp_path / "n.csv").read_bytes()
    assert lines[-1] == f"output: {tmp_path / 'm.csv'}"


def test_a_picture_of_a_map(toy_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    pytest.importorskip("polars")
    with legscore.load_ensemble(toy_model, precision="fp32", engine="openvino") as ensemble:
        maps = ensemble.saturate([random_dna(RNG, 60), None], invalid="nan")
    picture = legscore.plot_saturation(maps[0], tmp_path / "a.svg")
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    with pytest.raises(OutputError, match="choose another path, or add force=True"):
        legscore.plot_saturation(maps[0], tmp_path / "a.svg")
    with pytest.raises(InputError, match="1 has no map: its status is null_sequence"):
        legscore.plot_saturation(maps[1])
    with pytest.raises(InputError, match=r"one map is drawn, such as maps\[0\]; this is SaturationMaps"):
        legscore.plot_saturation(maps)


def commands() -> dict[str, click.Command]:
    from legscore.cli import cli

    context = click.Context(cli)
    return {
        name: found for name in ("evaluate", "design", "import") if (found := cli.get_command(context, name))
    }


def records() -> list[tuple[Any, str, list[Any], dict[str, str], set[str]]]:
    from legscore.design.curve import CurveOptions
    from legscore.design.options import DesignOptions
    from legscore.evaluate.options import EvaluationOptions

    return [
        (
            legscore.evaluate_predictions, "evaluate", [EvaluationOptions],
            {"paths": "data", "json_path": "json", "csv_path": "csv"},
            {"quiet", "calibrate", "output", "coverage", "threads"},
        ),
        (
            legscore.design_sequences, "design", [DesignOptions], {},
            {"quiet", "mutation_curve", "mutations", "mutation", "plot", "rules", "threads"},
        ),
        (
            legscore.mutation_curve, "", [CurveOptions], {}, {"request"},
        ),
        (legscore.import_model, "import", [], {}, {"verbose"}),
    ]  # fmt: skip


@pytest.mark.parametrize("which", range(4))
def test_functions_have_the_options_of_the_commands(which: int) -> None:
    """Each option of a command and each field of what it makes is an explicit keyword, with the same
    default."""
    pytest.importorskip("polars")
    function, command, fields_of, renamed, left_out = records()[which]
    parameters = inspect.signature(function).parameters
    assert all(p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters.values())
    assert all(p.annotation is not inspect.Parameter.empty for p in parameters.values())
    heard = {"say", "progress", "output", "force"}
    wanted: dict[str, Any] = {}
    if command:
        for option in commands()[command].params:
            name = renamed.get(str(option.name), str(option.name))
            if option.name not in left_out:
                wanted[name] = MISSING
    for record in fields_of:
        for name, field in record.__dataclass_fields__.items():
            if name not in left_out:
                has = field.default if field.default is not MISSING else field.default_factory
                wanted[renamed.get(name, name)] = has() if callable(has) else has
    extra = {"engine", "precision", "device"} if "request" in left_out else set()
    assert set(parameters) - heard == set(wanted) - heard - {"quiet"} | extra
    doc = inspect.getdoc(function) or ""
    for name, parameter in parameters.items():
        assert len(re.findall(rf"^    {name}: ", doc, re.M)) == 1, f"{name} is not documented, or twice"
        default = wanted.get(name, MISSING)
        if default is not MISSING and parameter.default is not inspect.Parameter.empty:
            assert (parameter.default or None) == (default or None), name


def test_documented_parts_of_every_public_name() -> None:
    """Args of every function and method; Returns and Raises of every function."""
    for name in legscore.__all__:
        thing = getattr(legscore, name)
        if name.startswith("__"):
            continue
        assert inspect.getdoc(thing)
        if not inspect.isfunction(thing):
            continue
        doc = inspect.getdoc(thing) or ""
        for part in ("Args:", "Returns:", "Raises:"):
            assert re.search(rf"^{part}$", doc, re.M), f"{name} lacks {part}"
    for name, method in inspect.getmembers(legscore.Ensemble, inspect.isfunction):
        if not name.startswith("_"):
            doc = inspect.getdoc(method) or ""
            for argument in list(inspect.signature(method).parameters)[1:]:
                assert re.search(rf"^    {argument}: ", doc, re.M), f"Ensemble.{name}: {argument}"


def test_a_group_that_is_not_there_is_named() -> None:
    table = pa.table(
        {"measured": [1.0, 2.0, 3.0, 5.0], "score": [1.0, 2.5, 3.5, 4.0], "g": ["a", "a", "b", "b"]}
    )
    results = legscore.evaluate_predictions(table, truths="measured", by="g", bootstrap=0)
    assert results.metric("mae", group=1).group == "g=b"
    for group in (2, -1):
        with pytest.raises(KeyError, match=r"no group .*; there are 0 \(g=a\), 1 \(g=b\)"):
            results.metric("mae", group=group)
