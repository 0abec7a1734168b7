"""Records, calibrations, metrics and columns that are not what legscore writes: one line and exit code 2, or
what the command makes of the rest; never a traceback, never noise."""

from __future__ import annotations

import copy
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import LONG, Ran, one_line, toy_checkpoint

from legscore.errors import InputError
from legscore.evaluate.figures.training import named
from legscore.evaluate.saturation import read_saturation
from legscore.run.calibration import Calibration, load_calibration
from legscore.system.entries import NUMBER, TEXT, check_entries
from legscore.system.small_files import MOST_NESTED, parse_json

pytest.importorskip("matplotlib", reason="the report needs legscore[report]")
Cli = Callable[..., Ran]
RECORD: dict[str, Any] = {
    "legscore": "0.2.0", "models": [{"name": "m", "sha256": "ab", "training": {"preset": "p", "metrics": {"pearson": 0.5}}}],
    "engine": {"engine": "openvino", "precision": "bf16", "cpu": "x"}, "fidelity": {"reference": "r", "score_rmse": 0.01},
    "options": {"kind": "edit", "rc": "construct", "singleton": 0}, "contract": {"output": {"unit": "bin", "floor": 4.0}},
    "calibration": {"coverage": 0.9, "sha256": "cd"}, "variants": {"kind": "saturation"},
}  # fmt: skip
DEEP = "[" * 100_000
VALUES: tuple[Any, ...] = (
    5,
    "x",
    [1],
    [None],
    {"a": 1},
    10**400,
    float("nan"),
    True,
    "\ud800",
    "\x1b[2J",
    None,
)


def scores(n: int = 60) -> pa.Table:
    """A saturated promoter of n / 3 positions, with what evaluate wants too."""
    angle = np.arange(n)
    return pa.table(
        {
            "tile_id": ["t"] * n,
            "chrom": ["II"] * n,
            "pos": angle // 3 + 1,
            "offset": angle // 3,
            "alt_base": list("ACG") * (n // 3),
            "effect": np.sin(angle),
            "effect_sd": np.abs(np.cos(angle)) + 0.1,
            "measured": np.sin(angle) + 0.1 * np.cos(5 * angle),
            "group": [f"g{i % 2}" for i in range(n)],
        }
    )


def save(path: Path, record: object, table: pa.Table | None = None) -> Path:
    raw = record if isinstance(record, bytes) else json.dumps(record).encode("utf-8", "surrogatepass")
    pq.write_table((table or scores()).replace_schema_metadata({b"legscore": raw}), path)
    return path


def ends_well(ran: Ran) -> None:
    if ran.code != 0:
        one_line(ran)
    assert "Traceback" not in ran.err
    assert "Warning" not in ran.err


def tried(values: Sequence[object], place: tuple[Any, ...]) -> Sequence[object]:
    """All of the values, or a third of them: another one at the next place."""
    return values if LONG else values[zlib.crc32(repr(place).encode()) % 3 :: 3]


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where each entry of a record stands."""
    found = [path] if path else []
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return found + [place for name, one in inner for place in places(one, (*path, name))]


@pytest.mark.parametrize("place", places(RECORD), ids=lambda place: ".".join(map(str, place)))
def test_report_of_any_record(cli: Cli, tmp_path: Path, place: tuple[Any, ...]) -> None:
    """Every entry in turn is something else; null and what is missing are as good as no entry."""
    for value in tried(VALUES, place):
        record = copy.deepcopy(RECORD)
        at = record
        for name in place[:-1]:
            at = at[name]
        at[place[-1]] = value
        ran = cli("report", save(tmp_path / "s.parquet", record), "-q", "--force", "-o", tmp_path / "r.html")
        ends_well(ran)
        if value is None and place[-1] != 0:
            assert ran.code == 0, ran.err


@pytest.mark.parametrize(
    "raw", [b"[]", b"5", b"\xff\xfe", DEEP.encode(), b'{"models": ' + DEEP.encode(), b'{"models"', b""]
)
@pytest.mark.parametrize("where", ["in the file", "beside it"])
def test_records_that_are_none(cli: Cli, tmp_path: Path, raw: bytes, where: str) -> None:
    path = tmp_path / "s.parquet"
    if where == "in the file":
        save(path, raw)
    else:
        pq.write_table(scores(), path)
        (tmp_path / "s.parquet.run.json").write_bytes(raw)
    ends_well(cli("report", path, "-q", "--force", "-o", tmp_path / "r.html"))
    asked = ("--truth", "measured", "--prediction", "effect", "--bootstrap", 0)
    ran = cli("evaluate", path, *asked, "--calibrate", "-o", tmp_path / "c.json")
    assert ran.code == 2
    one_line(ran)
    ends_well(cli("plot", "ism", path, "--promoter", "t", "--force", "-o", tmp_path / "i.png"))


def test_entries_are_named() -> None:
    kind = {"models": [{"name": TEXT}], "n": NUMBER}
    check_entries({"models": [{"name": None}], "n": 1.5, "other": object()}, kind, "r")
    for value, words in (
        (
            {"models": [{}, {"name": 5}]},
            "r, models, entry 2, name is not as legscore writes it: text is expected, not 5",
        ),
        (
            {"models": [None]},
            "r, models, entry 1 is not as legscore writes it: a value is expected, not None",
        ),
        ({"n": 10**400}, "a number is expected"),
        ([1], "a table of entries is expected, not a list"),
    ):
        with pytest.raises(Exception, match="r.* is not as legscore writes it") as caught:
            check_entries(value, kind, "r")
        assert words in str(caught.value)


def test_json_nested_deep_is_refused_at_one_depth() -> None:
    assert parse_json("[" * MOST_NESTED + "]" * MOST_NESTED)
    for depth in (MOST_NESTED + 1, 500, 100_000):
        for text in ("[" * depth + "]" * depth, '{"a":' * depth + "1" + "}" * depth):
            with pytest.raises(ValueError, match="nested over"):
                parse_json(text)


def test_no_damaged_calibration_is_believed(tmp_path: Path) -> None:
    """One bit anywhere, or an entry of another value within its range."""
    fitted = Calibration(
        ("ab" * 32,), {"rc": "construct", "singleton": 0}, 1.0, 2.0, 0.125, True, 0.9, {"rows": 3}
    )
    path = tmp_path / "c.json"
    fitted.save(path)
    good = path.read_bytes()
    assert load_calibration(str(path))[0] == fitted
    rng = np.random.default_rng(0)
    for place in range(len(good)):
        damaged = bytearray(good)
        damaged[place] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(damaged)
        try:
            found = load_calibration(str(path))[0]
        except InputError:
            continue
        assert found == fitted, (place, damaged[max(0, place - 20) : place + 20])
    held = json.loads(good)
    for name, value in {"slope": 1.5, "floor": 0.0, "uses_sd": False, "fit": {}, "quantile": 2}.items():
        path.write_text(json.dumps({**held, name: value}))
        with pytest.raises(InputError, match="does not fit its checksum"):
            load_calibration(str(path))


def test_calibrations_of_the_older_form(tmp_path: Path) -> None:
    """Without a checksum; what claims to be one of them and has one is a damaged newer one."""
    path = tmp_path / "c.json"
    path.write_text(json.dumps(CALIBRATION))
    assert load_calibration(str(path))[0].floor == 0.1
    path.write_text(json.dumps({**CALIBRATION, "sha256": "ab" * 32}))
    with pytest.raises(InputError, match="does not fit its checksum"):
        load_calibration(str(path))


CALIBRATION = {
    "format": "legscore-calibration-1", "models": ["a"], "settings": {"rc": "construct", "singleton": 0}, "slope": 1.0,
    "quantile": 2.0, "floor": 0.1, "uses_sd": True, "coverage": 0.9, "fit": {},
}  # fmt: skip


@pytest.mark.parametrize(
    "raw",
    [
        DEEP.encode(), b"[]", b'"x"', b"\xff", b"", b"{}", b"null", b'{"format": "legscore-calibration-1"}',
        *(
            json.dumps({**CALIBRATION, name: value}).encode()
            for name in ("slope", "quantile", "floor", "coverage", "models", "settings", "uses_sd")
            for value in (float("nan"), float("inf"), 10**400, -(10**400), "1", None, True if name != "uses_sd" else 1, [1])
        ),
        json.dumps({**CALIBRATION, "coverage": 1.5}).encode(),
        json.dumps({**CALIBRATION, "quantile": -1}).encode(),
    ],
)  # fmt: skip
def test_calibrations_that_are_none(cli: Cli, tmp_path: Path, toy_model: Path, raw: bytes) -> None:
    (tmp_path / "e.csv").write_text(f"sequence,offset,alt_base\n{'ACGT' * 10},3,A\n")
    (tmp_path / "c.json").write_bytes(raw)
    words = (
        "run",
        tmp_path / "e.csv",
        "-m",
        toy_model,
        "--engine",
        "null",
        "-q",
        "-o",
        tmp_path / "o.csv",
    )
    ran = cli(*words, "--calibration", tmp_path / "c.json")
    assert ran.code == 2
    one_line(ran, "c.json")
    assert len(ran.err) < 600


LINE = {"step": 10, "loss": 2.0, "lr": 0.1, "pearson": 0.5, "spearman": 0.4}


@pytest.mark.parametrize("name", LINE)
def test_metrics_that_are_none(cli: Cli, tmp_path: Path, name: str) -> None:
    for value in (*VALUES, 1e300, -1e300, "5"):
        lines = [{**LINE, name: value}, {**LINE, "step": 20}]
        path = tmp_path / "a.metrics.jsonl"
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        ran = cli("plot", "training", path, "--force", "-o", tmp_path / "t.png")
        ends_well(ran)
        assert ran.code == (
            0 if value is None and name not in ("step", "loss") else 0 if value == 5 else 2
        ), value
    path.write_bytes(json.dumps(LINE).encode() + b"\n" + DEEP.encode())  # half a line, as a kill leaves it
    assert cli("plot", "training", path, "--force", "-o", tmp_path / "t.png").code == 0
    path.write_bytes(DEEP.encode() + b"\n" + json.dumps(LINE).encode())
    one_line(cli("plot", "training", path, "--force", "-o", tmp_path / "t.png"), "line 1", "nested")
    path.write_bytes(b"\xff\xfe\n" + json.dumps(LINE).encode())
    one_line(cli("plot", "training", path, "--force", "-o", tmp_path / "t.png"), "line 1")


def test_trainings_of_one_name_are_all_drawn(cli: Cli, tmp_path: Path) -> None:
    """A study has a seed1 in each variant's folder."""
    for folder in ("a", "b", "c/a"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "seed1.metrics.jsonl").write_text(json.dumps(LINE) + "\n")
    ran = cli("plot", "training", tmp_path, "--force", "-o", tmp_path / "t.png")
    assert "3 trainings" in ran.err
    files = [
        Path("s/a/seed1.metrics.jsonl"),
        Path("s/c/a/seed1.metrics.jsonl"),
        Path("s/b/seed2.metrics.jsonl"),
    ]
    assert list(named(files)) == ["s/a/seed1", "c/a/seed1", "seed2"]


POINT = {
    "group": "all", "truth": "t", "prediction": "p", "metric": "pearson", "k": 1, "first": 0.5, "mean": 0.5, "spread": 0.1,
    "low": 0.4, "high": 0.6, "subsets": 3, "exhaustive": True, "reason": "",
}  # fmt: skip


@pytest.mark.parametrize("name", POINT)
def test_curves_that_are_none(cli: Cli, tmp_path: Path, name: str) -> None:
    for value in (*VALUES, 1e300, DEEP):
        points = [{**POINT, name: value}, {**POINT, "metric": "spearman"}]
        (tmp_path / "e.json").write_text(json.dumps({"ensemble_curve": points}))
        ends_well(cli("plot", "ensemble-curve", tmp_path / "e.json", "--force", "-o", tmp_path / "c.png"))
    del points[0][name]
    (tmp_path / "e.json").write_text(json.dumps({"ensemble_curve": points}))
    ends_well(cli("plot", "ensemble-curve", tmp_path / "e.json", "--force", "-o", tmp_path / "c.png"))
    for text in (
        DEEP,
        '{"ensemble_curve": 5}',
        '{"ensemble_curve": [5]}',
        '{"ensemble_curve": {"a": 1}}',
        "\xff",
    ):
        (tmp_path / "e.json").write_text(text, encoding="latin-1")
        one_line(cli("plot", "ensemble-curve", tmp_path / "e.json", "--force", "-o", tmp_path / "c.png"))


def not_utf8(n: int) -> pa.Array:
    offsets = np.arange(n + 1, dtype=np.int32)
    return pa.Array.from_buffers(pa.string(), n, [None, pa.py_buffer(offsets), pa.py_buffer(b"\xff" * n)])


ODD = {
    "no UTF-8": not_utf8(60),
    "no UTF-8, as dictionary": pa.DictionaryArray.from_arrays(pa.array([0] * 60), not_utf8(1)),
    "lists": pa.array([[1.0]] * 60),
    "tables": pa.array([{"a": 1}] * 60),
    "bytes": pa.array([b"\xff"] * 60),
    "maps": pa.array([[("a", 1)]] * 60, pa.map_(pa.string(), pa.int8())),
    "times": pa.array([0] * 60, pa.timestamp("ns", "Mars/Olympus")),
}


@pytest.mark.parametrize("kind", ODD)
def test_columns_that_cannot_be_read(cli: Cli, tmp_path: Path, kind: str) -> None:
    """In every role that evaluate, plot, report, --calibrate and training have for a column."""
    table, path = scores(), tmp_path / "s.parquet"
    evaluate = ("evaluate", path, "--truth", "measured", "--prediction", "effect", "--bootstrap", 5)
    pq.write_table(table.append_column("odd", ODD[kind]), path)
    for words in (
        (*evaluate, "--by", "odd"),
        (*evaluate, "--cluster", "odd"),
        (*evaluate, "--where", "odd=1"),
        (*evaluate[:-2], "--variant", "--substitutions", "odd"),
        ("evaluate", path, "--truth", "odd", "--prediction", "effect"),
        ("evaluate", path, "--truth", "measured", "--prediction", "odd"),
        (
            "plot",
            "scatter",
            path,
            "--truth",
            "odd",
            "--prediction",
            "effect",
            "--force",
            "-o",
            tmp_path / "s.png",
        ),
        ("plot", "ism", path, "--promoter", "t", "--tile", "odd", "--force", "-o", tmp_path / "i.png"),
        ("report", path, "--truth", "odd", "--force", "-o", tmp_path / "r.html"),
        ("report", path, "--tile", "odd", "--force", "-o", tmp_path / "r.html"),
    ):
        ran = cli(*words)
        ends_well(ran)
        if kind != "times":
            assert ran.code == 2 or words[0] == "report", words
    for name in ("tile_id", "chrom", "pos", "offset", "alt_base", "effect_sd", "group"):
        at = table.column_names.index(name)
        pq.write_table(table.set_column(at, name, ODD[kind]), path)
        ends_well(cli("report", path, "-q", "--force", "-o", tmp_path / "r.html"))
        ends_well(cli("plot", "ism", path, "--promoter", "t", "--force", "-o", tmp_path / "i.png"))
    pq.write_table(table.append_column("status", ODD[kind]), path)
    for words in (evaluate, ("report", path, "-q", "--force", "-o", tmp_path / "r.html")):
        ends_well(cli(*words))


def test_tiles_of_one_name_on_two_contigs(cli: Cli, tmp_path: Path) -> None:
    """The halves of two promoters do not become one."""
    table = scores().to_pylist()
    rows = [{**row, "chrom": "X"} for row in table[: len(table) // 2 + 6]]
    rows += [{**row, "chrom": "Y", "effect": 7.0} for row in table[len(table) // 2 + 6 :]]
    rows += [{**row, "chrom": "Y", "effect": 7.0} for row in table[: len(table) // 2 - 3]]
    path = tmp_path / "s.parquet"
    pq.write_table(pa.Table.from_pylist(rows), path)
    found = read_saturation(str(path))
    assert found.names_T == ["t on X", "t on Y"]
    on_x, on_y = found.tile(0), found.tile(1)
    assert np.nanmax(on_x.effect_BL) <= 1.0
    assert np.nanmin(on_y.effect_BL) == 7.0
    one_line(
        cli("plot", "ism", path, "--promoter", "t", "--force", "-o", tmp_path / "i.png"),
        "2 tiles",
        "t on X, t on Y",
    )
    assert cli("plot", "ism", path, "--promoter", "t on Y", "--force", "-o", tmp_path / "i.png").code == 0
    ran = cli("report", path, "-o", tmp_path / "r.html")
    assert "2 of 2 as heat maps" in ran.err


@pytest.mark.parametrize(
    ("names", "order"),
    [(["chr10", "chr2", "chr" + "9" * 5000, "chr²"], ["chr2", "chr10", "chr²", "chr" + "9" * 5000])],
)
def test_chromosomes_with_any_name_have_an_order(names: list[str], order: list[str]) -> None:
    from legscore.evaluate.report.order import in_order

    assert set(in_order(names)) == set(order)
    assert in_order(names)[:2] == order[:2]


def test_numbers_that_no_page_can_hold(cli: Cli, tmp_path: Path) -> None:
    """Positions beyond any contig and floats that JSON lacks, in the columns that say which row it is."""
    table, path = scores(), tmp_path / "s.parquet"
    for name, values in (
        ("pos", pa.array([2**63 - 1] * 60)),
        ("pos", pa.array([2**64 - 1] * 60, pa.uint64())),
        ("pos", pa.array([float("nan"), float("inf")] * 30)),
        ("offset", pa.array([float("inf"), 1.5] * 30)),
        ("offset", pa.array([2**64 - 1] * 60, pa.uint64())),
        ("effect", pa.array([1e308, -1e308, float("inf")] * 20)),
        ("measured", pa.array([1e308, -1e308] * 30)),
    ):
        at = table.column_names.index(name)
        pq.write_table(table.set_column(at, name, values), path)
        for words in (
            ("report", path, "--truth", "measured", "-q", "--force", "-o", tmp_path / "r.html"),
            (
                "plot",
                "scatter",
                path,
                "--truth",
                "measured",
                "--prediction",
                "effect",
                "-o",
                tmp_path / "s.png",
            ),
            ("plot", "ism", path, "--promoter", "t", "--force", "-o", tmp_path / "i.png"),
            ("evaluate", path, "--truth", "measured", "--prediction", "effect", "--bootstrap", 10),
        ):
            ends_well(cli(*words))


def designs(n: int = 20) -> pa.Table:
    rng = np.random.default_rng(0)
    return pa.table(
        {
            "insert": ["".join(rng.choice(list("ACGT"), 20)) for _ in range(n)],
            "target": rng.uniform(5, 9, n),
            "score": rng.uniform(5, 9, n),
            "error": rng.normal(size=n),
            "steps": [1] * n,
            "seed": list(range(n)),
        }
    )


DESIGN: dict[str, Any] = {
    "legscore": "0.2.0",
    "design": {
        "method": "generator", "generator": {"name": "g", "sha256": "ab"}, "schedule": {"steps": 3}, "emphasis": 1.0,
        "generator_engine": {"engine": "openvino"}, "rules": {"avoid": ["A"]}, "min_distance": 2,
        "judge": {"models": [{"name": "m"}], "engine": {"engine": "openvino"}, "rc": "none"},
        "check": {"models": [{"name": "m"}], "engine": {"engine": "openvino"}},
        "random": {"n": 3, "mae": 1.0, "score_quantiles": [1.0, 2.0]},
    },
}  # fmt: skip


@pytest.mark.parametrize("place", places(DESIGN), ids=lambda place: ".".join(map(str, place)))
def test_report_of_designs_of_any_record(cli: Cli, tmp_path: Path, place: tuple[Any, ...]) -> None:
    for value in tried((5, "\ud800", [], [None], {}, 10**400, float("nan"), None), place):
        record = copy.deepcopy(DESIGN)
        at = record
        for name in place[:-1]:
            at = at[name]
        at[place[-1]] = value
        path = save(tmp_path / "d.parquet", record, designs())
        ends_well(cli("report", path, "-q", "--force", "-o", tmp_path / "d.html"))


@pytest.mark.parametrize(
    "column", [*designs().column_names, "start_id", "nearest_training", "n_edits", "check_score"]
)
def test_designs_with_columns_that_cannot_be(cli: Cli, tmp_path: Path, column: str) -> None:
    for values in (
        not_utf8(20), pa.array([[1]] * 20), pa.array([None] * 20), pa.array([float("nan")] * 20), pa.array([2**63] * 20, pa.uint64()),
        pa.array([1e308, -1e308] * 10), pa.array(["\x1b[2J"] * 20), pa.array([b"\xff"] * 20),
    ):  # fmt: skip
        table = designs()
        if column in table.column_names:
            table = table.set_column(table.column_names.index(column), column, values)
        else:
            table = table.append_column(column, values)
        pq.write_table(table, tmp_path / "d.parquet")
        ends_well(cli("report", tmp_path / "d.parquet", "-q", "--force", "-o", tmp_path / "d.html"))


@pytest.mark.parametrize("name", ["recipe", "metrics", "note", "data_sha256", "folds_held_out", "new"])
def test_show_of_any_training_entry(cli: Cli, tmp_path: Path, name: str) -> None:
    for value in (
        5,
        "x",
        [1],
        [[None]],
        {"a": {"b": 1}},
        10**400,
        float("nan"),
        None,
        "\ud800",
        "a\nb\x1b[2J",
    ):
        made = toy_checkpoint(0)
        made.training[name] = value
        made.save(tmp_path / "m.safetensors")
        for more in ((), ("--json",)):
            ran = cli("show", tmp_path / "m.safetensors", *more)
            ends_well(ran)
            if ran.code == 0 and not more:
                assert f"  {name}: " in ran.out
                assert "\x1b" not in ran.out


TABLE = "id,sequence,expression,score\n" + "".join(f"v{i},{'ACGT' * 20},{i % 7},{i % 5}\n" for i in range(40))
DAMAGED = {
    "a quote that opens": TABLE.replace("v10,", '"v10,'),
    "text after a quote": TABLE.replace("v10,", '"v10"x,'),
    "no UTF-8": TABLE.replace("v10,", "v\xe9,"),
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize(
    "words",
    [
        "evaluate X --truth expression --prediction score --bootstrap 0",
        "plot scatter X --truth expression --prediction score -o p.png",
        "report X -o r.html",
        "design --method evolve --target 5 --n 1 --calls 2 --engine null --from X -o d.tsv",
        "design --method evolve --target X:score --n 1 --calls 2 --engine null -o d.tsv",
        "design --method evolve --target 5 --n 1 --calls 2 --engine null --training X -o d.tsv",
        "evaluate good.csv --truth expression --prediction score --bootstrap 0 --class-weights X",
        "train X -o models",
    ],
)
def test_companions_refuse_damaged_text(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, words: str
) -> None:
    """Rows are never lost: the line is named, whichever command reads the table."""
    if words.startswith("train"):
        pytest.importorskip("torch", reason="training needs legscore[train]")
    monkeypatch.chdir(tmp_path)
    Path("good.csv").write_text(TABLE)
    Path("x.csv").write_bytes(DAMAGED[kind].encode("latin-1"))
    one_line(cli(*(word.replace("X", "x.csv") for word in words.split())), "x.csv", "line 12")


@pytest.mark.parametrize("form", ["byte order mark", "carriage returns"])
def test_companions_read_other_forms_of_text(cli: Cli, tmp_path: Path, form: str) -> None:
    text = "\ufeff" + TABLE if form == "byte order mark" else TABLE.replace("\n", "\r\n")
    asked = ("--truth", "expression", "--prediction", "score", "--bootstrap", 0)
    seen = []
    for name, content in (("a.csv", TABLE), ("b.csv", text)):
        (tmp_path / name).write_text(content, encoding="utf-8", newline="")
        ran = cli("evaluate", tmp_path / name, *asked, "--by", "id", "--where", "score=1")
        assert ran.code == 0, ran.err
        seen.append(ran.out)
    assert seen[0] == seen[1]
