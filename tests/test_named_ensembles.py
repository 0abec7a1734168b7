"""Several ensembles in one pass: the numbers of single runs, bit for bit, in every way of running; refusals."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from conftest import (
    REPOSITORY,
    Ran,
    human_contract,
    one_line,
    random_dna,
    scored_by,
    toy_checkpoint,
    yeast_contract,
)
from test_resume import Cheap, Interrupted, interrupt_after

import legscore
from legscore.dna.batch import Batch
from legscore.dna.contract import Output
from legscore.rows.schema import RESULT_COLUMNS
from legscore.rows.window import Windower
from legscore.run.named_ensembles import column_of, named_columns, split_models
from legscore.run.options import Options

Cli = Callable[..., Ran]
ROWS = 60
NAMES = ("complex", "defined")
GENOME = REPOSITORY / "examples" / "genome"


def save(folder: Path, seeds: range, **changes: Any) -> Path:
    folder.mkdir()
    for seed in seeds:
        checkpoint = toy_checkpoint(seed)
        contract = dataclasses.replace(checkpoint.contract, **changes)
        dataclasses.replace(checkpoint, contract=contract).save(folder / f"m{seed}.safetensors")
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """complex: two members; defined: three; one: a member; log: another unit."""
    folder = tmp_path_factory.mktemp("ensembles")
    save(folder / "complex", range(2), medium="complex")
    save(folder / "defined", range(5, 8), medium="defined")
    save(folder / "one", range(9, 10))
    save(folder / "log", range(3, 4), output=Output("bins", "log2", 0.0, 17.0, None))
    return folder


def both(models: Path, *names: str) -> list[object]:
    return [word for name in (names or NAMES) for word in ("-m", f"{name}={models / name}")]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Rows that are pairs, edits and sequences; some have no score, and some stand twice."""
    rng = np.random.default_rng(0)
    texts = [random_dna(rng, 80) for _ in range(ROWS)]
    texts[3], texts[4], texts[10] = texts[3][:5] + "N" + texts[3][6:], "ACGT!", texts[9]
    changed = [text[:45] + ("A" if text[45:46] != "A" else "C") + text[46:] for text in texts]
    columns = {
        "id": np.arange(ROWS), "sequence": texts, "offset": [40] * ROWS, "ref_sequence": texts, "alt_sequence": changed,
        "alt_base": ["A" if text[40:41] != "A" else "C" for text in texts],
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    return tmp_path / "t.parquet"


COMMON = ("--precision", "fp32", "--keep", "id")


@pytest.mark.parametrize("kind", ["sequence", "pair", "edit"])
def test_the_numbers_are_those_of_single_runs(
    tmp_path: Path, cli: Cli, models: Path, source: Path, kind: str
) -> None:
    given = ("run", source, *COMMON, "--kind", kind, "--per-model", "--part-rows", 17)
    for name in NAMES:
        assert cli(*given, "-m", models / name, "-o", tmp_path / f"{name}.parquet").code == 0
    ran = cli(*given, *both(models), "-o", tmp_path / "both.parquet", "--verify", 1)
    assert ran.code == 0, ran.err
    assert "verified:" in ran.err
    assert "of all 5 members" in ran.err
    found = pq.read_table(tmp_path / "both.parquet")
    single = {name: pq.read_table(tmp_path / f"{name}.parquet") for name in NAMES}
    windows = 1 if kind == "sequence" else 2
    results = RESULT_COLUMNS[windows]
    lists = [f"{name}_per_model" for name in results if not name.endswith("_sd")]
    value = "score" if kind == "sequence" else "effect"
    own = [column_of(column, name) for name in NAMES for column in results]
    own_lists = [column_of(column, name) for name in NAMES for column in lists]
    difference = f"{value}_complex_minus_defined"
    assert found.column_names == ["id", *own, difference, *own_lists, "status", "n_count"]
    assert {f"{value}_complex", f"{value}_complex_sd", f"{value}_defined_per_model"} < set(found.column_names)
    for name in NAMES:
        for column in (*results, *lists):
            assert found[column_of(column, name)].equals(single[name][column]), (name, column)
    for column in ("status", "n_count"):
        assert found[column].to_pylist() == single["complex"][column].to_pylist()
    one, other = (single[name][value].to_numpy() for name in NAMES)
    np.testing.assert_array_equal(found[difference].to_numpy(), one - other)
    assert found[difference].null_count == found["status"].to_pylist().count("invalid_base") > 0
    record = json.loads((tmp_path / "both.parquet.run.json").read_text())
    alone = json.loads((tmp_path / "complex.parquet.run.json").read_text())
    assert record["windows_scored"] == alone["windows_scored"]
    assert [len(record["ensembles"][name]["models"]) for name in NAMES] == [2, 3]
    assert {one["contract"]["medium"] for one in record["ensembles"].values()} == set(NAMES)
    assert record["verify"]["members_verified"] == 5


class Counting(Cheap):
    batches: list[Batch] = []  # noqa: RUF012

    def _score(self, batch: Batch, members: list[int], both: bool, tell: Any) -> np.ndarray:
        Counting.batches.append(batch)
        return super()._score(batch, members, both, tell)


def test_windows_are_made_once(
    tmp_path: Path, cli: Cli, models: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored_by(monkeypatch, Counting)
    made, whole = [], Windower.__call__
    monkeypatch.setattr(Windower, "__call__", lambda self, columns: made.append(1) or whole(self, columns))
    Counting.batches.clear()
    ran = cli(
        "run", source, "--kind", "sequence", *both(models), "--part-rows", 30, "-o", tmp_path / "o.parquet"
    )
    assert ran.code == 0, ran.err
    assert len(made) == 2  # parts
    assert len(Counting.batches) == 4
    assert Counting.batches[0] is Counting.batches[1]
    assert Counting.batches[0] is not Counting.batches[2]


def test_three_ensembles_and_other_units(tmp_path: Path, cli: Cli, models: Path, source: Path) -> None:
    """The first minus each other one; none to scores in another unit, which is said."""
    given = (
        "run",
        source,
        "--kind",
        "edit",
        "--engine",
        "null",
        *both(models, "complex", "defined", "one", "log"),
    )
    ran = cli(*given, "-o", tmp_path / "o.parquet")
    assert ran.code == 0, ran.err
    names = pq.read_schema(tmp_path / "o.parquet").names
    assert [name for name in names if "minus" in name] == [
        "effect_complex_minus_defined",
        "effect_complex_minus_one",
    ]
    assert "no difference to log: its scores are in log2, not bin" in ran.err
    assert "effect_log" in names
    assert pq.read_table(tmp_path / "o.parquet")["effect_one_sd"].null_count == ROWS  # one member


class Infinite(Cheap):
    """The members of seed 5 on give NaN for every other window."""

    def __init__(self, members: Any) -> None:
        super().__init__(members)
        self._bad = members[0].contract.medium == "defined"

    def _score(self, batch: Batch, members: list[int], both: bool, tell: Any) -> np.ndarray:
        scores = super()._score(batch, members, both, tell)
        if self._bad:
            scores[:, ::2] = np.nan
        return scores


def test_a_score_that_is_not_finite_in_one(
    tmp_path: Path, cli: Cli, models: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such a row has no score at all: a null stands wherever the status is not ok."""
    scored_by(monkeypatch, Infinite)
    assert (
        cli("run", source, "--kind", "pair", *both(models), "-o", tmp_path / "o.parquet", "--per-model").code
        == 0
    )
    table = pq.read_table(tmp_path / "o.parquet")
    bad = np.array([status != "ok" for status in table["status"].to_pylist()])
    assert "nonfinite" in table["status"].to_pylist()
    assert not bad.all()
    for name in named_columns(NAMES, 2):
        np.testing.assert_array_equal(table[name].is_null().to_numpy(), bad)
    lists = np.array(table["effect_complex_per_model"].to_pylist(), dtype=float)
    np.testing.assert_array_equal(np.isnan(lists).all(axis=1), bad)


@pytest.mark.parametrize("name", ["o.parquet", "o.tsv", "folder/"])
def test_interrupted_and_sharded_runs_end_with_the_same_bytes(
    tmp_path: Path, cli: Cli, models: Path, source: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    scored_by(monkeypatch, Cheap)
    given: tuple[object, ...] = ("run", source, "--kind", "edit", *both(models), "--part-rows", 13)
    given += {"o.parquet": ("--per-model",), "folder/": ("--per-model", "--file-rows", 26)}.get(name, ())

    def bytes_of(path: Path) -> list[bytes]:
        return [one.read_bytes() for one in sorted(path.iterdir())] if path.is_dir() else [path.read_bytes()]

    for folder in ("whole", "again", "shards"):
        (tmp_path / folder).mkdir()
    assert cli(*given, "-o", f"{tmp_path}/whole/{name}").code == 0
    patch = interrupt_after(monkeypatch, 2)
    with pytest.raises(Interrupted):
        cli(*given, "-o", f"{tmp_path}/again/{name}")
    patch.undo()
    ran = cli(*given, "-o", f"{tmp_path}/again/{name}")
    assert "2 of 5 parts are there" in ran.err
    assert bytes_of(tmp_path / "again" / name) == bytes_of(tmp_path / "whole" / name)
    ran = cli(*given, "-o", f"{tmp_path}/again/{name}")
    assert "already finished" in ran.err
    turned = cli(
        "run",
        source,
        "--kind",
        "edit",
        *both(models, *NAMES[::-1]),
        *given[8:],
        "-o",
        f"{tmp_path}/again/{name}",
    )
    one_line(turned, "a run that differs from this one")
    if name == "folder/":
        return
    for shard in ("1/2", "2/2"):
        out = tmp_path / "shards" / f"{shard[0]}-{name}"
        assert cli(*given, "--shard", shard, "-o", out).code == 0
    out = tmp_path / "shards" / name
    assert cli("merge", *(tmp_path / "shards" / f"{i}-{name}" for i in (2, 1)), "-o", out).code == 0
    assert out.read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_shards_of_other_ensembles_are_not_joined(
    tmp_path: Path, cli: Cli, models: Path, source: Path
) -> None:
    given = ("run", source, "--kind", "sequence", "--engine", "null", "--part-rows", 20)
    assert cli(*given, *both(models), "--shard", "1/2", "-o", tmp_path / "a.tsv").code == 0
    words = ("-m", f"complex={models / 'complex'}", "-m", f"defined={models / 'one'}")
    assert cli(*given, *words, "--shard", "2/2", "-o", tmp_path / "b.tsv").code == 0
    one_line(cli("merge", tmp_path / "a.tsv", tmp_path / "b.tsv", "-o", tmp_path / "o.tsv"), "of another run")


def test_other_ways_to_run(tmp_path: Path, cli: Cli, models: Path, source: Path, monkeypatch: Any) -> None:
    """Standard output, --dry-run, --shifts, --multiqc, Python, and what reads the output."""
    scored_by(monkeypatch, Cheap)
    given = ("run", source, "--kind", "pair", *both(models))
    ran = cli(*given, "-o", "-", "-q")
    assert ran.out.splitlines()[0].split("\t")[-3:] == ["effect_complex_minus_defined", "status", "n_count"]
    assert len(ran.out.splitlines()) == ROWS + 1
    ran = cli(*given, "-o", tmp_path / "never.parquet", "--dry-run")
    assert "× 5 members" in ran.out
    assert not (tmp_path / "never.parquet").exists()
    out = tmp_path / "o.parquet"
    assert cli(*given, "-o", out, "--multiqc", tmp_path / "o_mqc.json").code == 0
    table = pq.read_table(out)
    named = {name: models / name for name in NAMES}
    record = legscore.score_file(source, tmp_path / "p.parquet", models=named, kind="pair")
    assert pq.read_table(tmp_path / "p.parquet").equals(table)
    assert set(record["ensembles"]) == set(NAMES)
    streamed = legscore.score_table(pq.read_table(source), models=named, kind="pair").read_all()
    assert streamed.drop_columns([]).equals(table.cast(streamed.schema))
    metadata = json.loads(streamed.schema.metadata[b"legscore"])
    assert set(metadata["ensembles"]) == set(NAMES)
    for name in NAMES:
        shifted = ("run", source, "--kind", "pair", "--shifts", "0")
        assert cli(*shifted, "-m", models / name, "-o", tmp_path / f"{name}.s.parquet").code == 0
    assert cli(*given, "--shifts", "0", "-o", tmp_path / "s.parquet").code == 0
    alone = pq.read_table(tmp_path / "defined.s.parquet")
    assert pq.read_table(tmp_path / "s.parquet")["effect_defined"].equals(alone["effect"])


def test_variants_of_a_genome(tmp_path: Path, cli: Cli, models: Path) -> None:
    """Tables of a VCF's alleles and of saturation; a VCF and tracks have room for one ensemble."""
    tiles = ("--fasta", GENOME / "toy.fa", "--tiles", GENOME / "tiles.bed", "--engine", "null")
    given = ("run", GENOME / "toy.vcf", *tiles, *both(models))
    assert cli(*given, "-o", tmp_path / "o.csv").code == 0
    assert "effect_complex_minus_defined" in pc.read_csv(tmp_path / "o.csv").column_names
    for name in ("o.vcf.gz", "o.bw", "o.bedgraph"):
        one_line(cli(*given, "-o", tmp_path / name), name, "one ensemble", "score complex alone")
    one_line(cli(*given, "-o", "-", "--format", "vcf"), "one ensemble")
    legscore.score_genome(
        GENOME / "toy.vcf", tmp_path / "p.csv", fasta=GENOME / "toy.fa", regions_bed=GENOME / "tiles.bed",
        engine="null", models={name: models / name for name in NAMES}, say=lambda line: None,
    )  # fmt: skip
    assert (tmp_path / "p.csv").read_bytes() == (tmp_path / "o.csv").read_bytes()


def test_what_reads_scores_takes_named_columns(
    tmp_path: Path, cli: Cli, models: Path, source: Path, monkeypatch: Any
) -> None:
    """evaluate by name, with its ensemble curve; report and plots of one effect say which columns there are."""
    scored_by(monkeypatch, Cheap)
    out = tmp_path / "o.parquet"
    assert cli("run", source, "--kind", "edit", *both(models), "--per-model", "-o", out).code == 0
    curve = ("--ensemble-curve", "--bootstrap", 0, "--prediction", "effect_defined")
    ran = cli("evaluate", out, "--truth", "effect_complex", *curve)
    assert ran.code == 0, ran.err
    one_line(cli("report", out, "-o", tmp_path / "r.html"), "effect_complex")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("a=complex",), ("names tell several ensembles apart, and this is one",)),
        (("a=complex", "defined"), ("-m defined", "other ensembles have names")),
        (("a=complex", "a=defined"), ("two ensembles have the name a",)),
        (("a=complex", "b=complex"), ("a and b are the same models",)),
        (("a=complex", "b=copy"), ("a and b are the same models",)),
        (("my name=complex", "b=defined"), ("letters, digits and _", "my name")),
        (("=complex", "b=defined"), ("letters, digits and _",)),
        (("1st=complex", "b=defined"), ("a letter first",)),
        (("a;b=complex", "b=defined"), ("letters, digits and _",)),
        (("ü=complex", "b=defined"), ("letters, digits and _",)),
        (("a=", "b=defined"), ("no model is named",)),
        (("a=complex", "b=nowhere"), ("nowhere: no such file or directory",)),
        (("sd=complex", "b=defined"), ("the column score_sd would have two meanings",)),
        (("per_model=complex", "b=defined"), ("the column score_per_model would have two meanings",)),
        (("a=complex", "a_sd=defined"), ("the column score_a_sd would have two meanings",)),
        (("a=complex", "b=defined", "a_minus_b=one"), ("the column score_a_minus_b would have two meanings",)),
        (("low=complex", "high=defined"), ("the column effect_low would have two meanings",)),
        (("a=complex", "b=long"), ("a and b read different windows", "length is 150 and 230")),
        (("a=complex", "b=flank"), ("a and b read different windows", "flank5")),
        (("a=complex", "b=short"), ("a and b read different windows", "insert_max")),
        (("a=complex", "b=forward"), ("a was trained on both strands", "b on one")),
    ],
)  # fmt: skip
def test_refused_names_and_contracts(
    tmp_path: Path, cli: Cli, models: Path, source: Path, monkeypatch: Any, given: tuple[str, ...], words: tuple[str, ...]
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for path in models.iterdir():
        Path(path.name).symlink_to(path)
    Path("copy").mkdir()
    for number, path in enumerate(sorted((models / "complex").iterdir(), reverse=True)):
        Path(f"copy/other{number}.safetensors").write_bytes(path.read_bytes())
    Path("long").mkdir()
    toy_checkpoint(0, human_contract()).save(Path("long/m.safetensors"))
    contract = yeast_contract()
    save(Path("flank"), range(1), flank5=("G" if contract.flank5[0] == "A" else "A") + contract.flank5[1:])
    save(Path("short"), range(1), insert_max=contract.insert_max - 1)
    save(Path("forward"), range(1), rc_trained=False)
    models_given = [word for one in given for word in ("-m", one)]
    ran = cli("run", source, "--kind", "sequence", "--engine", "null", *models_given, "-o", "o.parquet")
    one_line(ran, *words)
    assert not list(Path().glob("o.parquet*"))


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--until-se", "0.1"), ("--until-se is about one ensemble", "complex, defined")),
        (("--out-of-fold", "id"), ("--out-of-fold is about one ensemble",)),
        (("--calibration", "c.json"), ("--calibration is about one ensemble",)),
        (("--background", "b.npz"), ("--background is about one ensemble",)),
        (("--student", "s.safetensors", "--rescore", "5%"), ("--student is about one ensemble",)),
        (("--shuffle-null", "3"), ("--shuffle-null compares the effects of one ensemble",)),
        (("--keep", "id,effect_complex"), ("has no column 'effect_complex'",)),
    ],
)
def test_options_about_one_ensemble(
    tmp_path: Path, cli: Cli, models: Path, source: Path, more: tuple[str, ...], words: tuple[str, ...]
) -> None:
    ran = cli("run", source, "--kind", "pair", *both(models), "-o", tmp_path / "o.parquet", *more)
    one_line(ran, *words)


@pytest.mark.parametrize(
    "column", ["effect_complex", "ref_score_defined", "effect_complex_minus_defined", "effect", "x_per_model"]
)
def test_columns_that_the_input_has(
    tmp_path: Path, cli: Cli, models: Path, source: Path, column: str
) -> None:
    table = pq.read_table(source).append_column(column, pa.array(np.zeros(ROWS)))
    pq.write_table(table, tmp_path / "c.parquet")
    given = (
        "run",
        tmp_path / "c.parquet",
        "--kind",
        "pair",
        "--engine",
        "null",
        *both(models),
        "-o",
        tmp_path / "o.parquet",
    )
    one_line(cli(*given), f"already has the column '{column}'")
    assert cli(*given, "--keep", "id").code == 0


def test_names_are_told_from_paths(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    Path("a=b").mkdir()
    assert split_models(["a=b", "x/y=z", "./c=d", "s3://bucket/e=f"]) == (
        ("a=b", "x/y=z", "./c=d", "s3://bucket/e=f"),
        (),
    )
    assert split_models(["c=d", "e=x=y"]) == (("d", "x=y"), ("c", "e"))
    assert split_models([]) == ((), ())


def test_python_takes_a_mapping(tmp_path: Path, models: Path, source: Path) -> None:
    with pytest.raises(legscore.LegscoreError, match="one folder or checkpoint"):
        legscore.score_file(source, tmp_path / "o.parquet", models={"a": [models], "b": models}, kind="pair")  # type: ignore[dict-item]
    with pytest.raises(legscore.LegscoreError, match="names tell several ensembles apart"):
        legscore.score_file(source, tmp_path / "o.parquet", models={"a": models / "one"}, kind="pair")
    with pytest.raises(legscore.LegscoreError, match="score_file, score_genome and score_table"):
        legscore.load_ensemble({"a": models / "one", "b": models / "log"})  # type: ignore[arg-type]
    with pytest.raises(legscore.LegscoreError, match="until_se is about one ensemble"):
        legscore.score_file(
            source, tmp_path / "o.parquet", models={n: models / n for n in NAMES}, until_se=0.1
        )


def test_verify_holds_each_ensemble_to_its_own_contract(models: Path) -> None:
    """A score in the range of one contract and outside that of another is told."""
    from legscore.errors import WrongScoresError
    from legscore.model.checkpoint import load_members
    from legscore.rows.groups import Group
    from legscore.rows.window import Windows
    from legscore.run.verify import Verifier

    members = load_members([models / "complex"])
    narrow = yeast_contract(output=Output("scalar", "bin", 0.0, 5.0, 0.0))
    members[1] = toy_checkpoint(1, narrow)
    engine = Cheap(members)
    engine.name = "cheap"
    verifier = Verifier(members, engine, 0.0, "t", rc="none", is_singleton=False)
    index = np.zeros((1, 1, 1), dtype=np.int32)
    windows = Windows(
        Batch(np.zeros((1, 150), dtype=np.uint8)), index, np.zeros(1, np.uint8), np.zeros(1, np.int32), 1
    )
    group = Group(None, None, windows)
    verifier.check(0, [group], [np.array([[9.0], [4.0]], dtype=np.float32)])
    with pytest.raises(WrongScoresError, match="to 5;"):
        verifier.check(0, [group], [np.array([[4.0], [9.0]], dtype=np.float32)])


def test_options_say_what_they_are(models: Path) -> None:
    with pytest.raises(ValueError, match="zip"):
        Options(["t.csv"], "o.csv", models=["a"], ensembles=("x", "y"))
