"""Messages from Python name arguments, not options: all that can be reached, walked; and what is told."""

from __future__ import annotations

import ast
import inspect
import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from conftest import REPOSITORY

import legscore
from legscore.errors import InputError, LegscoreError, LegscoreWarning
from legscore.run.python_words import ARGUMENTS, FLAGS, argument_of, in_python
from legscore.system.log import Notice

PACKAGE = REPOSITORY / "legscore"
NO_FUNCTION = {"cli", "cluster", "distill", "measure", "train", "__main__"}
"""Rooms that no function of the API enters: commands, Ray, benchmarks, training, distilling."""
OTHERS = {
    "atlas/contents.py", "atlas/join_shards.py", "atlas/make_atlas.py", "atlas/options.py", "atlas/scaled.py",
    "attribute/attribute_files.py", "attribute/npz_files.py", "attribute/open_motifs.py",
    "evaluate/report/collect.py", "evaluate/saturation.py", "evaluate/figures/ensemble_size.py",
    "output/pieces.py", "cuda/image.py", "variants/bcf.py", "variants/fasta_index.py",
    "run/python_words.py", "evaluate/show.py", "design/page.py", "model/model_library.py", "model/pull.py",
}  # fmt: skip
"""Files whose options are those of commands without a function (report, plot, merge, models) or of other programs;
what else they say is looked at below."""
OPTION = re.compile(r"(?<![\w/'\"-])(--[a-z][a-z0-9]*(?:-[a-z0-9]+)*|-[mog])(?![\w-])")


def texts() -> Iterator[tuple[str, str]]:
    """(file, text) of each string in the package that is no docstring; an f-string whole, `x` for its
    values."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = str(path.relative_to(PACKAGE))
        if name.split("/")[0].removesuffix(".py") in NO_FUNCTION:
            continue
        tree = ast.parse(path.read_text())
        inside: set[int] = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
                inside.add(id(node.value))
            if isinstance(node, ast.JoinedStr):
                inside |= {id(value) for value in ast.walk(node) if value is not node}
        for node in ast.walk(tree):
            if id(node) in inside:
                continue
            if isinstance(node, ast.JoinedStr):
                parts = [v.value if isinstance(v, ast.Constant) else "x" for v in node.values]
                yield name, "".join(map(str, parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield name, node.value


def arguments() -> set[str]:
    """Every argument of every function and method of the API."""
    found = set()
    for name in legscore.__all__:
        thing = getattr(legscore, name)
        functions = (
            [f for _, f in inspect.getmembers(thing, inspect.isfunction)]
            if inspect.isclass(thing)
            else [thing]
        )
        for function in functions:
            if inspect.isfunction(function):
                found |= set(inspect.signature(function).parameters)
    return found


def test_every_message_can_be_said_in_python() -> None:
    """No message keeps an option, and each argument that takes its place is one of the API."""
    known = arguments()
    walked = 0
    for name, text in texts():
        options = OPTION.findall(text)
        if not options or name in OTHERS:
            continue
        said = in_python(text)
        left = [o for o in OPTION.findall(said) if o not in ("-m", "-o")]
        is_shell = re.search(
            r"pip install|iconv|samtools|bcftools|tabix|legscore (merge|cache|compile|train)", text
        )
        assert is_shell or not left, f"{name}: {said}"
        assert in_python(said) == said, "a second time changes it"
        if is_shell:
            continue
        walked += 1
        for option in set(options) - {"--x", "--multiqc"}:  # a name that is filled in; a command's own
            argument = argument_of(option).removeprefix("no_")
            is_function = argument.startswith("legscore.")
            assert is_function or argument in known | {"help"}, f"{name}: {option} of {text!r} is no argument"
    assert walked > 150, "the walk found too few messages: did they move?"
    assert set(FLAGS) <= known
    assert {name for name in ARGUMENTS.values() if not name.startswith("legscore.")} <= known


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("use --precision fp32", "use precision='fp32'"),
        ("Name it with --column sequence=NAME", "Name it with columns={'sequence': 'NAME'}"),
        ("--column dna=x: no such role", "columns={'dna': 'x'}: no such role"),
        ("add --force to replace it", "add force=True to replace it"),
        ("choose another -o, or stop", "choose another output, or stop"),
        ("--bootstrap 1000 may be enough", "bootstrap=1000 may be enough"),
        ("--key id: a.csv has no such column", "keys='id': a.csv has no such column"),
        ("--promoters and --tiles both say", "promoters and regions_bed both say"),
        ("--pool-sizes 2,2,2,2", "pool_sizes=(2, 2, 2, 2)"),
        ("--n-value 0.25|0", "n_value=0.25 or 0"),
        ("--no-rc-trained contradicts it", "rc_trained=False contradicts it"),
        ("legscore run --per-model writes it", "legscore.score_file(per_model=True) writes it"),
        ("legscore evaluate --calibrate makes one", "legscore.calibrate_effects makes one"),
        ("legscore import a.pth -o a.safetensors", "legscore.import_model('a.pth', 'a.safetensors')"),
        (
            "run `legscore cache clear`, or use --engine torch",
            "run `legscore cache clear`, or use engine='torch'",
        ),
        ("pip install --force-reinstall 'legscore[gpu]'", "pip install --force-reinstall 'legscore[gpu]'"),
        ("--saturate makes every change itself; give it no VARIANTS", None),
        ("the range -5 to -2, a well-known --", "the range -5 to -2, a well-known --"),
    ],
)
def test_messages_in_python(message: str, said: str | None) -> None:
    expected = said or "saturate=True makes every change itself; give it no source"
    assert in_python(message) == expected


def test_errors_of_every_function_speak_python(world: Path, toy_model: Path, tmp_path: Path) -> None:
    """One error each, of the kinds that checks shared with the commands raise."""
    pytest.importorskip("polars")
    table = pa.table({"measured": [1.0, 2.0, 3.0], "score": [1.0, 2.5, 3.5]})
    source, out = tmp_path / "s.csv", tmp_path / "o.parquet"
    source.write_text("sequence,score\nACGT,1\n")
    calls: list[tuple[Any, str]] = [
        (lambda: legscore.score_file(source, out, models=toy_model), "leave it out with keep"),
        (lambda: legscore.score_file(source, source, models=toy_model), "choose another output"),
        (lambda: legscore.score_file(table, out), "inputs is a table in memory (Table), not a file"),
        (lambda: legscore.score_genome(table, out, fasta=world / "g.fa"), "source is a table in memory"),
        (lambda: legscore.score_file(source, out, columns="score"), "columns is 'score'; it says which role"),
        (lambda: legscore.score_table(table, columns="score"), "columns is 'score'; it says which role"),
        (lambda: legscore.score_file(source, out, kind="pair"), "columns={'ref_sequence': 'NAME'}"),
        (lambda: legscore.load_ensemble(toy_model, singleton=1, engine="null", rc="x"), "rc is 'x'"),
        (lambda: legscore.load_ensemble("nowhere.safetensors"), "models takes checkpoints"),
        (lambda: legscore.score_genome(world / "v.vcf", out, fasta=world / "g.fa"), "promoters='GTF'"),
        (
            lambda: legscore.build_variants(None, out, fasta=world / "g.fa", saturate=True),
            "say which tiles to make: promoters='GTF', regions_bed='BED', or centered=True",
        ),
        (lambda: legscore.score_table(pa.table({"a": ["A"]})), "columns={'sequence': 'NAME'}"),
        (
            lambda: legscore.evaluate_predictions(table, truths="truth"),
            "truths='truth': the table has no such column",
        ),
        (
            lambda: legscore.evaluate_predictions(table, truths="measured", class_column="a"),
            "class_column has no",
        ),
        (
            lambda: legscore.calibrate_effects(table, out, truth="measured", prediction="score"),
            "legscore.calibrate_effects: ",
        ),
        (
            lambda: legscore.calibrate_effects(table, out, truth="delta", prediction="score"),
            "truth='delta': the table has no such column",
        ),
        (
            lambda: legscore.calibrate_effects(table, out, truth="measured", prediction="effect"),
            "prediction='effect': the table has no such column",
        ),
        (lambda: legscore.design_sequences(out, target=12), "needs a generator: generator='GENERATOR'"),
        (
            lambda: legscore.design_sequences(out, target=[12], method="evolve", n=0, models=toy_model),
            "n=0: at",
        ),
        (lambda: legscore.mutation_curve(source, out, mutations="1"), "mutations=1: write FIRST:LAST:STEP"),
        (lambda: legscore.import_model("nowhere.pth", tmp_path / "m.safetensors"), "nowhere.pth"),
    ]
    for call, message in calls:
        with pytest.raises(LegscoreError) as raised:
            call()
        assert message in str(raised.value)
        assert not OPTION.search(str(raised.value)), str(raised.value)


def test_readers_errors_speak_python(toy_model: Path) -> None:
    bad = pa.table({"sequence": pa.array([b"\xff", b"A"]).view(pa.binary()), "id": ["a", "b"]})
    text = pa.Array.from_buffers(pa.string(), 2, bad["sequence"].chunk(0).buffers())
    broken = pa.table({"sequence": ["A", "C"], "id": text})
    reader = legscore.score_table(broken, models=toy_model, engine="null", sequence_is="insert")
    with pytest.raises(InputError, match="leave the column out with keep$"):
        reader.read_all()


def test_lines_are_said_and_notices_warned_of(toy_model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """With `say` every line, in Python's words; without it what takes long or has no score, as a warning at
    the caller's line, each time."""
    monkeypatch.setenv("LEGSCORE_CACHE", str(tmp_path / "cache"))
    said: list[str] = []
    mostly = pa.table({"sequence": ["ACGT", None, None]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        legscore.score_table(mostly, models=toy_model, engine="null", say=said.append).read_all()
    assert any(line.startswith("warning: most rows have no score") for line in said)
    assert any(
        line.startswith("sequences: read as insert") and "sequence_is overrides" in line for line in said
    )
    for _ in range(2):
        with pytest.warns(LegscoreWarning, match="^most rows have no score: 2 of 3") as told:
            legscore.score_table(mostly, models=toy_model, engine="null").read_all()
        assert told[0].filename == __file__
    (tmp_path / "s.csv").write_text("sequence\nACGT\nNA\nNA\n")
    with pytest.warns(LegscoreWarning, match="most rows have no score") as told:
        legscore.score_file(
            tmp_path / "s.csv",
            tmp_path / "o.parquet",
            models=toy_model,
            engine="null",
            log_json=tmp_path / "l",
        )
    assert len(told) == 1


def test_measuring_fidelity_is_warned_of(toy_model: Path, tmp_path: Path, monkeypatch: Any) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("LEGSCORE_CACHE", str(tmp_path / "cache"))
    with (
        pytest.warns(LegscoreWarning, match="fidelity: measuring fp32 against fp32, once for these models"),
        legscore.load_ensemble(toy_model, engine="torch", precision="fp32") as ensemble,
    ):
        assert ensemble.fidelity is not None
    with warnings.catch_warnings():  # remembered
        warnings.simplefilter("error")
        legscore.load_ensemble(toy_model, engine="torch", precision="fp32").close()


def test_a_notice_is_a_line() -> None:
    assert isinstance(Notice("a"), str)
    assert Notice("a") == "a"
