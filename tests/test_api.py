"""The Python API: every container, the same numbers as files, errors that say which sequence."""

from __future__ import annotations

import inspect
import json
import pickle
import re
from dataclasses import MISSING
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pysam
import pytest
from conftest import random_dna, yeast_contract

import legscore
from legscore.atlas.options import LookupOptions
from legscore.cli import lookup, run, variants
from legscore.cli.variant_options import OPTIONS as VARIANT_OPTIONS
from legscore.errors import InputError, LegscoreError, ModelError
from legscore.run.options import Options
from legscore.variants.options import BuildOptions

RNG = np.random.default_rng(0)
TEXTS = [random_dna(RNG, int(n)) for n in RNG.integers(60, 100, 40)]


@pytest.fixture(scope="module")
def ensemble(toy_models: Path) -> Any:
    with legscore.load_ensemble(toy_models, engine="openvino", precision="fp32") as loaded:
        yield loaded


def test_score_takes_every_container(ensemble: Any) -> None:
    scores = ensemble.score(TEXTS)
    assert scores.dtype == np.float32
    assert scores.shape == (40,)
    polars = pytest.importorskip("polars")
    for given in (
        tuple(TEXTS),
        np.array(TEXTS),
        np.array(TEXTS, dtype=object),
        np.array(TEXTS, dtype="S"),
        pa.array(TEXTS),
        pa.chunked_array([TEXTS[:9], TEXTS[9:]]),
        pa.array(TEXTS).dictionary_encode(),
        polars.Series(TEXTS),
        (t.lower() for t in TEXTS),
    ):
        assert (ensemble.score(given) == scores).all(), type(given)


def test_score_equals_files_and_members(ensemble: Any, toy_models: Path, tmp_path: Path) -> None:
    pq.write_table(pa.table({"sequence": TEXTS}), tmp_path / "s.parquet")
    record = legscore.score_file(
        tmp_path / "s.parquet",
        tmp_path / "o.parquet",
        models=toy_models,
        engine="openvino",
        precision="fp32",
        per_model=True,
    )
    assert record["status"] == {"ok": 40}
    assert re.fullmatch(
        r"<Record of 40 rows \(40 ok\); \S+o\.parquet; [\d.]+ s; dict\(\.\.\.\) .* \d+ entries>", repr(record)
    )
    assert json.loads(json.dumps(record)) == record == pickle.loads(pickle.dumps(record))
    out = pq.read_table(tmp_path / "o.parquet")
    members = ensemble.score(TEXTS, per_member=True)
    assert members.shape == (3, 40)
    assert (ensemble.score(TEXTS) == np.array(out["score"])).all()
    assert (np.array(out["score_per_model"].to_pylist(), dtype=np.float32) == members.T).all()
    with pytest.raises(TypeError, match="unexpected keyword argument 'precison'"):
        legscore.score_file("a", "b", precison="fp32")  # type: ignore[call-arg]


def test_effects(ensemble: Any) -> None:
    alts = [t[:10] + ("A" if t[10] != "A" else "G") + t[11:] for t in TEXTS]
    effects = ensemble.effects(TEXTS, alts)
    assert (effects.ref_score == ensemble.score(TEXTS)).all()
    assert np.allclose(effects.effect, effects.alt_score - effects.ref_score, atol=1e-6)
    assert effects.effect_sd.shape == (40,)
    assert set(effects.status) == {"ok"}
    mixed = ensemble.effects([*TEXTS[:2], "X"], [alts[0], TEXTS[1], "A"], invalid="nan")
    assert mixed.status.tolist() == ["ok", "ref_equals_alt", "invalid_base"]
    assert np.isnan(mixed.effect).tolist() == [False, True, True]
    with pytest.raises(InputError, match=r"different numbers of sequences: \[39, 40\]"):
        ensemble.effects(TEXTS, alts[1:])


def test_invalid_sequences(ensemble: Any) -> None:
    with pytest.raises(InputError, match="sequence 1 has status invalid_base .*: a letter is no base; pass"):
        ensemble.score(["ACGT", "AC GT"])
    with pytest.raises(InputError, match=r"too_long \(read as insert\): inserts have \d+ to \d+ bases; pass"):
        ensemble.score(["ACGT", "A" * 999])
    with pytest.raises(InputError, match="too_short .*: windows have 150 bases; pass"):
        ensemble.score(["ACGT"], sequence_is="window")
    scores = ensemble.score(["ACGT", "AC GT", None, ""], invalid="nan")
    assert np.isnan(scores).tolist() == [False, True, True, True]
    for given, message in (
        ("ACGT", "not one string"),
        ([1, 2], "must be text"),
        (pa.array([1]), "must be text"),
    ):
        with pytest.raises(InputError, match=message):
            ensemble.score(given)
    with pytest.raises(ValueError, match="invalid is 'drop'"):
        ensemble.score(["ACGT"], invalid="drop")
    with pytest.raises(ValueError, match="sequence_is"):
        ensemble.score(["ACGT"], sequence_is="gene")
    assert ensemble.score([]).shape == (0,)
    assert ensemble.score([], per_member=True).shape == (3, 0)


def test_sequences_without_information_have_no_score(ensemble: Any) -> None:
    """40 N's, ambiguity letters, and words for missing values: never a number, whichever way they come."""
    texts = ["ACGT" * 10, "N" * 40, "RYSWKM" * 7, "NA", "null", "."]
    assert np.isnan(ensemble.score(texts, invalid="nan")).tolist() == [False] + [True] * 5
    with pytest.raises(InputError, match="sequence 1 has status mostly_n"):
        ensemble.score(texts)
    effects = ensemble.effects([texts[0]] * 2, ["N" * 40, "ACGT" * 9 + "NNNN"], invalid="nan")
    assert effects.status.tolist() == ["mostly_n", "ok"]


def test_properties(ensemble: Any, toy_models: Path) -> None:
    assert ensemble.contract == yeast_contract()
    assert ensemble.fidelity is None
    assert len(ensemble) == 3
    assert ensemble.engine["precision"] == "fp32"
    assert [Path(m.path).name for m in ensemble.members] == [f"member{i}.safetensors" for i in range(3)]
    single = legscore.load_ensemble(toy_models / "member1.safetensors", precision="fp32", rc="insert")
    assert single.score(TEXTS).shape == (40,)
    single.close()
    with pytest.raises(LegscoreError, match="this engine is closed"):
        single.score(TEXTS)
    with pytest.raises(ModelError, match="no such file"):
        legscore.load_ensemble("nowhere")
    with pytest.raises(LegscoreError, match="rc is 'both'"):
        legscore.load_ensemble(toy_models, rc="both")


def test_long_inputs_are_cut_into_parts(ensemble: Any, toy_models: Path) -> None:
    whole = ensemble.score(TEXTS)
    with legscore.load_ensemble(toy_models, engine="openvino", precision="fp32", rows_at_once=7) as by_seven:
        assert (by_seven.score(TEXTS) == whole).all()
        with pytest.raises(InputError, match="sequence 23 has status too_long"):
            by_seven.score([*TEXTS[:23], "A" * 999])


def options_of(command: click.Command) -> dict[str, Any]:
    """Parameters of a command and their defaults, under the names that functions have."""
    names = {"format_": "format"}
    return {names.get(str(p.name), str(p.name)): p for p in command.params}


ONLY_COMMANDS = {
    "quiet", "verbose", "dry_run", "ray", "workers", "num_cpus", "num_gpus", "threads", "multiqc",
}  # fmt: skip
"""What a terminal, a pipeline and a cluster need; a function has `say` and `progress` instead, and its process
LEGSCORE_THREADS."""
ONLY_TABLES = {"kind", "columns", "sequence_is"}


@pytest.mark.parametrize(
    ("function", "records", "command", "left_out"),
    [
        (
            legscore.score_file,
            [Options],
            run.command,
            {*ONLY_COMMANDS, *VARIANT_OPTIONS, "haplotypes", "samples"},
        ),
        (legscore.score_genome, [Options, BuildOptions], run.command, {*ONLY_COMMANDS, *ONLY_TABLES}),
        (legscore.build_variants, [BuildOptions], variants.command, ONLY_COMMANDS),
        (legscore.lookup_variants, [LookupOptions], lookup.command, {*ONLY_COMMANDS, "command", "shown"}),
    ],
)
def test_functions_have_the_options_of_the_commands(
    function: Any, records: list[Any], command: click.Command, left_out: set[str]
) -> None:
    """Each option of a command is a keyword of its function, explicit and typed, with the same default; so is
    each field of what they make; and nothing else but who hears of it."""
    parameters = inspect.signature(function).parameters
    assert all(p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) for p in parameters.values())
    assert all(p.annotation is not inspect.Parameter.empty for p in parameters.values())
    assert [p.kind is inspect.Parameter.KEYWORD_ONLY for p in parameters.values()] == [
        n >= 2 for n in range(len(parameters))
    ]
    options = options_of(command)
    asked = {name for name in options if name not in left_out}
    heard = {"say", "progress"} & set(parameters)
    sources = {"source", "inputs"}
    assert set(parameters) - heard - sources == asked - sources
    fields = {name: field for record in records for name, field in record.__dataclass_fields__.items()}
    fields.pop("ensembles", None)  # names are part of `models`, here as there
    assert set(fields) - sources - left_out <= set(parameters)
    doc = inspect.getdoc(function) or ""
    for name, parameter in parameters.items():
        assert re.search(rf"^    {name}: ", doc, re.M), f"{name} is not documented"
        if name in fields and parameter.default is not inspect.Parameter.empty:
            field = fields[name]
            default = field.default if field.default is not MISSING else field.default_factory()
            assert (parameter.default or None) == (default or None), name
        if name in options and not options[name].required:
            by_command = options[name].get_default(click.Context(command))
            if isinstance(by_command, (int, float, str)) and by_command:
                assert parameter.default == by_command, name


def same_file(one: Path, other: Path) -> None:
    assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize(
    ("name", "one"),
    [
        ("biotypes", "protein_coding"),
        ("region", "1:1-295"),
        ("contig_map", "odd=1"),
        ("contig_map", Path("m.tsv")),
    ],
)
def test_one_text_is_a_list_of_one(world: Path, name: str, one: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never a list of its letters."""
    monkeypatch.chdir(world)
    (world / "m.tsv").write_text("odd\t1\n")
    pysam.tabix_index(str(world / "v.vcf"), preset="vcf", keep_original=True)
    rows = [
        legscore.build_variants(
            world / "v.vcf.gz", world / "o.csv", fasta=world / "g.fa", promoters=world / "g.gtf", length=20,
            upstream=40, force=True, **{name: given},
        )
        for given in (one, [one])
    ]  # fmt: skip
    assert rows[0] == rows[1] > 0


def test_functions_write_the_bytes_of_the_commands(world: Path, toy_model: Path, cli: Any) -> None:
    """A table, an annotated VCF, tracks and a null; a set of variants and a saturated one."""
    genome: dict[str, Any] = {
        "fasta": world / "g.fa",
        "promoters": world / "g.gtf",
        "length": 20,
        "upstream": 40,
    }
    given = ("--fasta", world / "g.fa", "--promoters", world / "g.gtf", "--length", 20, "--upstream", 40)
    scored: dict[str, Any] = {"models": toy_model, "engine": "openvino", "precision": "fp32"}
    models = ("-m", toy_model, "--engine", "openvino", "--precision", "fp32")
    for name, more, keywords in (
        ("o.parquet", ("--per-model", "--keep", "all"), {"per_model": True, "keep": "all"}),
        ("o.vcf", (), {}),
        ("p.csv", ("--shuffle-null", 5), {"shuffle_null": 5}),
    ):
        (by_command := world / "command").mkdir(exist_ok=True)
        (by_function := world / "function").mkdir(exist_ok=True)
        ran = cli("run", world / "v.vcf", *given, *models, *more, "-o", by_command / name)
        assert ran.code == 0, ran.err
        record = legscore.score_genome(
            world / "v.vcf", by_function / name, **genome, **scored, **keywords, say=(said := []).append
        )
        if name.endswith(".vcf"):  # the header holds the command, or the call
            by_both = [
                [line for line in (folder / name).read_text().splitlines() if "legscore_command" not in line]
                for folder in (by_command, by_function)
            ]
            assert by_both[0] == [line.replace("function", "command") for line in by_both[1]]
        else:
            same_file(by_command / name, by_function / name)
        assert record["command"]["function"] == "legscore.score_genome"
        assert record["command"]["arguments"]["models"] == str(toy_model)
        assert any(line.startswith("engine: openvino") for line in said)
    for name, source, more, keywords in (
        ("v.parquet", world / "v.vcf", (), {}),
        ("s.parquet", None, ("--saturate", "--saturate-indels"), {"saturate": True, "saturate_indels": True}),
    ):
        ran = cli("variants", *([source] if source else []), *given, *more, "-o", by_command / name)
        assert ran.code == 0, ran.err
        rows = legscore.build_variants(source, by_function / name, **genome, **keywords)
        assert rows == pq.read_metadata(by_function / name).num_rows > 0
        same_file(by_command / name, by_function / name)
    ran = cli("run", by_command / "s.parquet", *models, "-o", by_command / "s.bedgraph")
    assert ran.code == 0, ran.err
    legscore.score_file(by_function / "s.parquet", by_function / "s.bedgraph", **scored)
    for strand in ("plus", "minus"):
        same_file(by_command / f"s.{strand}.bedgraph", by_function / f"s.{strand}.bedgraph")


def test_events_of_a_function(world: Path, toy_model: Path) -> None:
    (world / "s.csv").write_text("sequence\nACGT\n")
    told = world / "events.jsonl"
    legscore.score_file(world / "s.csv", world / "o.parquet", models=toy_model, engine="null", log_json=told)
    assert [json.loads(line)["event"] for line in told.read_text().splitlines()] == [
        "start",
        "part",
        "finish",
    ]
    with pytest.raises(LegscoreError, match="choose another log_json"):
        legscore.score_file(world / "s.csv", world / "o.parquet", log_json=world / "s.csv")
    with pytest.raises(InputError, match="samples says whose haplotypes; give haplotypes=True"):
        legscore.score_genome(
            world / "v.vcf", world / "o.parquet", fasta=world / "g.fa", centered=True, samples="all"
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "cuda"}, "engine is 'cuda'; known are auto, openvino"),
        ({"precision": "fp8"}, "precision is 'fp8'"),
        ({"sequence_is": "inserts"}, "sequence_is is 'inserts'"),
        ({"singleton": 2}, "singleton is 2"),
        ({"max_n": -1}, "max_n is -1"),
        ({"kind": "pairs"}, "kind is 'pairs'"),
        ({"rc": "both"}, "rc is 'both'"),
    ],
)
def test_option_values_are_checked(
    tmp_path: Path, toy_model: Path, options: dict[str, Any], message: str
) -> None:
    (tmp_path / "s.csv").write_text("sequence\nACGT\n")
    with pytest.raises(LegscoreError, match=message):
        legscore.score_file(tmp_path / "s.csv", tmp_path / "o.parquet", models=toy_model, **options)
    assert not (tmp_path / "o.parquet").exists()


def test_threads_may_load_and_score_at_once(
    toy_models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six threads on a cold cache; one ensemble used by all."""
    from concurrent.futures import ThreadPoolExecutor

    pytest.importorskip("torch")
    monkeypatch.setenv("LEGSCORE_CACHE", str(tmp_path / "cache"))

    def load(_: int) -> np.ndarray:
        with legscore.load_ensemble(
            toy_models / "member0.safetensors", engine="torch", precision="fp32"
        ) as loaded:
            return loaded.score(TEXTS)

    with ThreadPoolExecutor(6) as pool:
        scores = list(pool.map(load, range(6)))
        assert all((s == scores[0]).all() for s in scores)
        with legscore.load_ensemble(toy_models, engine="openvino", precision="fp32") as shared_one:
            expected = shared_one.score(TEXTS)
            assert all((s == expected).all() for s in pool.map(lambda _: shared_one.score(TEXTS), range(12)))


def test_missing_values_of_other_libraries(ensemble: Any) -> None:
    scores = ensemble.score(np.array(["ACGT", None, float("nan")], dtype=object), invalid="nan")
    assert np.isnan(scores).tolist() == [False, True, True]
    assert np.isnan(ensemble.score([b"ACGT", b"\xff"], invalid="nan")).tolist() == [False, True]
    with pytest.raises(InputError, match="one-dimensional"):
        ensemble.score(np.array("ACGT"))


def test_a_forked_child_gets_an_error_not_a_hang(ensemble: Any) -> None:
    import os

    assert ensemble.score(TEXTS[:2]).shape == (2,)
    child = os.fork()
    if child == 0:
        try:
            ensemble.score(TEXTS[:2])
        except LegscoreError as error:
            os._exit(7 if "does not survive a fork" in str(error) else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
