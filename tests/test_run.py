"""`legscore run` as a user runs it: formats, outputs, published scores, one clear line for everything
wrong."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import LONG, REPOSITORY, Ran, random_dna, toy_checkpoint, yeast_contract
from pyarrow import csv

import legscore
from legscore.rows.schema import STATUSES
from legscore.run.record import WHAT_TO_CHECK, mostly_unscored

EXAMPLE = REPOSITORY / "examples" / "promoter_variants.parquet"
A5, A3 = yeast_contract().adapter5, yeast_contract().adapter3


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    refs = [A5 + random_dna(rng, 80) + A3 for _ in range(40)]
    alts = [r[:40] + ("A" if r[40] != "A" else "C") + r[41:] for r in refs]
    t = pa.table(
        {"id": [f"v{i}" for i in range(40)], "weight": rng.normal(size=40), "ref_seq": refs, "alt_seq": alts}
    )
    pq.write_table(t, tmp_path / "pairs.parquet")
    return tmp_path / "pairs.parquet"


def test_pairs_in_every_output(tmp_path: Path, pairs: Path, toy_models: Path, cli: Any) -> None:
    base = ("run", pairs, "-m", toy_models, "--precision", "fp32", "--engine", "openvino")
    assert cli(*base, "-o", tmp_path / "o.parquet").code == 0
    expected = pq.read_table(tmp_path / "o.parquet")
    assert expected.column_names == [
        "id",
        "weight",
        "ref_score",
        "alt_score",
        "effect",
        "effect_sd",
        "status",
        "n_count",
    ]
    assert np.allclose(
        expected["effect"], np.array(expected["alt_score"]) - np.array(expected["ref_score"]), atol=1e-5
    )
    assert expected["effect_sd"].null_count == 0
    for name in ("o.arrow", "o.feather", "o.csv", "o.tsv", "o.csv.gz", "o.tsv.gz"):
        ran = cli(*base, "-o", tmp_path / name)
        assert ran.code == 0, ran.err
        if "sv" not in name:
            with pa.ipc.open_file(str(tmp_path / name)) as reader:
                assert reader.read_all().to_pylist() == expected.to_pylist()
            continue
        with gzip.open(tmp_path / name) if name.endswith(".gz") else open(tmp_path / name, "rb") as stream:
            text = stream.read()
        assert b'"' not in text
        got = csv.read_csv(
            io.BytesIO(text), parse_options=csv.ParseOptions(delimiter="\t" if "tsv" in name else ",")
        )
        assert got.column_names == expected.column_names
        assert np.allclose(got["effect"], expected["effect"], atol=1e-6)
        assert got["status"].to_pylist() == expected["status"].to_pylist()
    ran = cli(*base, "-o", "-", "-q")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines()[0].split("\t") == expected.column_names
    assert len(ran.out.splitlines()) == 41
    assert not (tmp_path / "-.run.json").exists()


def test_arrow_on_standard_output(pairs: Path, toy_model: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "legscore", "run", pairs, "-m", toy_model, "-o", "-", "--format", "arrow", "--engine", "null", "-q"],
        capture_output=True, check=True,
    )  # fmt: skip
    assert pa.ipc.open_stream(done.stdout).read_all().num_rows == 40
    assert done.stderr == b""


def test_a_reader_that_leaves_ends_the_run_quietly(tmp_path: Path, toy_model: Path) -> None:
    (tmp_path / "s.csv").write_text("id,sequence\n" + "x,ACGT\n" * 200_000)
    run = f"{sys.executable} -m legscore run {tmp_path}/s.csv -m {toy_model} -o - --engine null -q"
    for form, first in (("tsv", "id"), ("arrow", "")):
        command = f"{run} --format {form} | head -c 9; code=${{PIPESTATUS[0]}}; echo; echo $code"
        done = subprocess.run(["bash", "-c", command], capture_output=True)
        assert done.stdout.startswith(first.encode())
        assert done.stdout.split()[-1] == b"141"
        assert done.stderr == b""
    full = subprocess.run(["bash", "-c", f"{run} > /dev/full"], capture_output=True, text=True)
    assert full.returncode == 2
    assert full.stderr == "legscore: standard output cannot be written: No space left on device\n"


def test_row_trouble_is_a_status_and_exit_code_0(tmp_path: Path, toy_model: Path, cli: Any) -> None:
    rows = [
        "A" * 80,
        None,
        "",
        "ACGX",
        "C" * 1_000_000,
        "acgu" * 20,
        A5 + "A" * 80 + A3,
        "N" * 80,
        "A" * 138,
        "-",
        "A" * 80,
    ]
    pq.write_table(pa.table({"id": list(range(11)), "sequence": rows}), tmp_path / "s.parquet")
    ran: Ran = cli("run", tmp_path / "s.parquet", "-m", toy_model, "-o", tmp_path / "o.parquet")
    assert ran.code == 0, ran.err
    out = pq.read_table(tmp_path / "o.parquet")
    assert out["status"].to_pylist() == [
        "ok",
        "null_sequence",
        "too_short",
        "invalid_base",
        "too_long",
        "ok",
        "adapter_mismatch",
        "mostly_n",
        "too_long",
        "invalid_base",
        "ok",
    ]
    assert [s is None for s in out["score"].to_pylist()] == [s != "ok" for s in out["status"].to_pylist()]
    assert out["n_count"].to_pylist() == [0, None, None, None, None, 0, None, 80, None, None, 0]
    assert out["score"][0] == out["score"][10]
    assert re.search(
        r"rows: 11 \(ok 3, null_sequence 1, invalid_base 2, too_short 1, too_long 2, adapter_mismatch 1, "
        r"mostly_n 1\)",
        ran.err,
    )
    assert "windows: 2 scored, 1 saved" in ran.err
    broken = tmp_path / "b.csv"
    broken.write_text("sequence\n" + f"{A5}{'A' * 80}{A3}\n" * 3 + f"{A5[:-1]}G{'A' * 80}{A3}\n{'A' * 110}\n")
    assert cli("run", broken, "-m", toy_model, "-o", tmp_path / "b.out.csv").code == 0
    assert (tmp_path / "b.out.csv").read_text().count("adapter_mismatch") == 2


def wrong_inputs(tmp_path: Path, toy_model: Path, pairs: Path) -> list[tuple[list[object], str]]:
    good = tmp_path / "good.csv"
    good.write_text("id,sequence\na,ACGT\n")
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "cut.parquet").write_bytes(pairs.read_bytes()[:-50])
    (tmp_path / "cols.csv").write_text("id,dna\na,ACGT\n")
    (tmp_path / "both.csv").write_text("sequence,ref_seq,alt_seq\nA,A,C\n")
    (tmp_path / "types.csv").write_text("sequence,offset,alt_base\nACGT,1.5,A\n")
    (tmp_path / "folder").mkdir()
    (tmp_path / "model.pth").write_bytes(b"PK\x03\x04")
    (tmp_path / "text.safetensors").write_text("not a model")
    toy_checkpoint(3, yeast_contract(n_value=0.0)).save(tmp_path / "other.safetensors")
    toy_checkpoint(4, yeast_contract(rc_trained=False, channels=tuple("AGCT"))).save(
        tmp_path / "plain.safetensors"
    )
    out, model = ["-o", tmp_path / "o.parquet"], ["-m", toy_model]
    return [
        ([tmp_path / "empty.parquet", *model, *out], r"empty.parquet is empty"),
        ([tmp_path / "cut.parquet", *model, *out], r"cut.parquet cannot be read as Parquet"),
        (
            [tmp_path / "cols.csv", *model, *out],
            r"cols.csv has no columns to score.*it has id, dna.*--column sequence=NAME",
        ),
        ([tmp_path / "both.csv", *model, *out], r"fits two kinds of rows.*--kind"),
        (
            [tmp_path / "types.csv", *model, *out],
            r"column 'offset' reads '1.5' in row 1; offsets are whole numbers",
        ),
        ([tmp_path / "folder", *model, *out], r"folder: no Parquet file"),
        ([tmp_path / "nothing.parquet", *model, *out], r"nothing.parquet: no such file"),
        ([good, *model, "-o", tmp_path / "no" / "o.parquet"], r"the folder .*no does not exist"),
        ([good, *model, "-o", tmp_path / "folder"], r"folder: unknown extension|folder is a directory"),
        ([good, *model, "-o", "/proc/o.parquet"], r"/proc/o.parquet cannot be written"),
        ([good, *model, "-o", tmp_path / "o.xlsx"], r"o.xlsx: unknown extension"),
        ([good, *model, "-o", good], r"good.csv is both input and output"),
        ([good, "-m", tmp_path / "model.pth", *out], r"model.pth: is a PyTorch file.*legscore import"),
        ([good, "-m", tmp_path / "text.safetensors", *out], r"text.safetensors: is not a safetensors file"),
        ([good, "-m", tmp_path / "folder", *out], r"folder: no \*.safetensors"),
        ([good, "-m", tmp_path / "nowhere", *out], r"nowhere: no such file"),
        ([good, *model, "-m", toy_model, *out], r"is the same model as"),
        (
            [good, *model, "-m", tmp_path / "other.safetensors", *out],
            r"other.safetensors: its sequence contract differs",
        ),
        ([good, *model, *out, "--keep", "nme"], r"--keep: .* no column 'nme'"),
        ([good, *model, *out, "--column", "sequence"], r"write ROLE=NAME"),
        (
            [good, *model, *out, "--kind", "edit"],
            r"no column 'offset' and no column 'alt_base' for --kind edit",
        ),
        (
            [good, *model, *out, "--engine", "tensorrt"],
            r"engine tensorrt cannot be used here: .*pip install 'legscore\[gpu(-rtx)?\]'",
        ),
        (
            [good, *model, *out, "--engine", "openvino", "--device", "0"],
            r"--device 0: engine openvino .* uses no NVIDIA GPU",
        ),
        ([good, *model, *out, "--precision", "fp16"], r"fp16 is for engines tensorrt and torch"),
        ([good, *model, *out, "--recipe", "nope"], r"recipe nope"),
        (
            [good, *model, *out, "--rc", "insert", "--sequence-is", "window"],
            r"--rc insert needs to know where the insert lies",
        ),
        ([good, "-m", tmp_path / "plain.safetensors", *out, "--singleton", "1"], r"no is_singleton channel"),
        (
            [good, *model, "-o", tmp_path / "o.csv", "--per-model"],
            r"'score_per_model' .* text cannot hold; .*, or leave out --per-model",
        ),
        ([good, *model, "-o", tmp_path / "o.csv", "--format", "tsv"], r"contradicts the extension"),
        (["", *model, *out], r"INPUT: an empty name was given"),
        ([good, "-m", "", *out], r"--model: an empty name was given"),
        ([good, *model, "-o", ""], r"--output: an empty name was given"),
        (
            [good, *model, *out, "--column", "sequence=id", "--column", "sequence=sequence"],
            r"sequence was given twice",
        ),
        ([good, *model, *out, "--engine", "null", "--precision", "fp32"], r"engine null computes nothing"),
        ([tmp_path / "line\nbreak.csv", *model, *out], r"line break.csv: no such file"),
    ]


def test_input_trouble_is_one_line_and_exit_code_2(
    tmp_path: Path, toy_model: Path, pairs: Path, cli: Any
) -> None:
    cases = wrong_inputs(tmp_path, toy_model, pairs)
    before = sorted(p.name for p in tmp_path.rglob("*"))
    for args, message in cases:
        ran: Ran = cli("run", *args, "-q")
        assert ran.code == 2, (args, ran)
        assert re.search(message, ran.err), (message, ran.err)
        assert ran.err.startswith("legscore: ")
        assert ran.err.count("\n") == 1, ran.err
        assert ran.out == ""
    assert sorted(p.name for p in tmp_path.rglob("*")) == before


def test_usage_errors(cli: Any) -> None:
    for args, message in (
        (("run",), "Missing argument"),
        (("run", "x", "-o", "y", "--engine", "cuda"), "is not one of"),
        (("walk",), "there is no command"),
    ):
        ran = cli(*args)
        assert ran.code == 2
        assert message in ran.err
        assert "Traceback" not in ran.err


def test_rc_modes(tmp_path: Path, cli: Any) -> None:
    """construct averages both strands and so equals itself on the reverse complement of a flagless window;
    none does not."""
    toy_checkpoint(4, yeast_contract(rc_trained=False, channels=tuple("AGCT"))).save(
        tmp_path / "plain.safetensors"
    )
    rng = np.random.default_rng(0)
    windows = [random_dna(rng, 150) for _ in range(5)]
    flipped = [w[::-1].translate(str.maketrans("ACGT", "TGCA")) for w in windows]
    (tmp_path / "w.csv").write_text("sequence\n" + "\n".join(windows + flipped) + "\n")
    scores = {}
    for rc in ("default", "none", "construct"):
        extra = [] if rc == "default" else ["--rc", rc]
        ran = cli(
            "run",
            tmp_path / "w.csv",
            "-m",
            tmp_path / "plain.safetensors",
            "--force",
            "-o",
            tmp_path / "o.parquet",
            "--precision",
            "fp32",
            *extra,
            "-v",
        )
        assert ran.code == 0, ran.err
        assert f"strands: {'none' if rc == 'default' else rc}" in ran.err
        scores[rc] = np.array(pq.read_table(tmp_path / "o.parquet")["score"])
    assert (scores["default"] == scores["none"]).all()
    assert np.abs(scores["none"][:5] - scores["none"][5:]).max() > 1e-3
    assert np.allclose(scores["construct"][:5], scores["construct"][5:], atol=1e-5)
    assert np.allclose(scores["construct"][:5], (scores["none"][:5] + scores["none"][5:]) / 2, atol=1e-5)


def test_rc_insert_averages_two_constructs(tmp_path: Path, toy_model: Path, cli: Any) -> None:
    rng = np.random.default_rng(1)
    inserts = [random_dna(rng, 80) for _ in range(4)]
    flipped = [s[::-1].translate(str.maketrans("ACGT", "TGCA")) for s in inserts]
    (tmp_path / "s.csv").write_text("sequence\n" + "\n".join(inserts + flipped) + "\n")
    scores = {}
    for rc in ("none", "insert"):
        assert (
            cli(
                "run",
                tmp_path / "s.csv",
                "-m",
                toy_model,
                "--force",
                "-o",
                tmp_path / "o.parquet",
                "--precision",
                "fp32",
                "--rc",
                rc,
            ).code
            == 0
        )
        scores[rc] = np.array(pq.read_table(tmp_path / "o.parquet")["score"])
    assert np.allclose(scores["insert"][:4], (scores["none"][:4] + scores["none"][4:]) / 2, atol=1e-5)
    assert np.allclose(scores["insert"][:4], scores["insert"][4:], atol=1e-5)


def test_singleton_switch_and_labels_that_look_like_numbers(
    tmp_path: Path, toy_model: Path, cli: Any
) -> None:
    """is_singleton is an option; a label column never changes a score."""
    scores = []
    for label, singleton in (("0", "0"), ("0.0", "0"), ("0", "1")):
        (tmp_path / "s.csv").write_text(f"sequence,bin\n{'ACGT' * 20},{label}\n")
        assert (
            cli(
                "run",
                tmp_path / "s.csv",
                "-m",
                toy_model,
                "--force",
                "-o",
                tmp_path / "o.parquet",
                "--singleton",
                singleton,
                "--precision",
                "fp32",
            ).code
            == 0
        )
        scores.append(pq.read_table(tmp_path / "o.parquet")["score"][0].as_py())
    assert scores[0] == scores[1]
    assert abs(scores[0] - scores[2]) > 1e-4


@pytest.mark.usefixtures("few_windows")
def test_example_and_bundled_model(tmp_path: Path, cli: Any) -> None:
    """The README's first command, on its first rows: real variants, the bundled model, its accuracy said."""
    t = pq.read_table(EXAMPLE)
    assert t.num_rows == 5520
    assert (
        t.group_by("gene").aggregate([("sequence", "count_distinct")])["sequence_count_distinct"].to_pylist()
        == [1] * 23
    )
    pq.write_table(t.slice(0, 240), tmp_path / "v.parquet")
    ran = cli("run", tmp_path / "v.parquet", "-o", tmp_path / "o.parquet", "--precision", "fp32")
    assert ran.code == 0, ran.err
    assert "bundled for demonstration" in ran.err
    assert "48,772 measured sequences" in ran.err
    assert "windows: 241 scored, 239 saved" in ran.err
    out = pq.read_table(tmp_path / "o.parquet")
    assert out.column_names[:6] == ["gene", "gene_id", "chrom", "pos", "ref", "alt"]
    assert "sequence" not in out.column_names
    assert set(out["status"].to_pylist()) == {"ok"}
    assert out["effect_sd"].null_count == 0, "three members"


def test_example_is_what_its_script_writes(tmp_path: Path) -> None:
    script = REPOSITORY / "examples" / "make_promoter_variants.py"
    subprocess.run([sys.executable, script, tmp_path / "v.parquet"], check=True, capture_output=True)
    assert pq.read_table(tmp_path / "v.parquet").equals(pq.read_table(EXAMPLE))


def test_example_agrees_with_the_genome(shared: Path) -> None:
    """Every row's plus-strand allele is what the genome holds there."""
    pysam = pytest.importorskip("pysam")
    genome = pysam.FastaFile(
        str(shared / "data/genome/Saccharomyces_cerevisiae.R64-1-1.dna.primary_assembly.fa.gz")
    )
    for row in pq.read_table(EXAMPLE).to_pylist()[::7]:
        assert genome.fetch(row["chrom"], row["pos"] - 1, row["pos"]) == row["ref"]
        assert row["sequence"][row["offset"]] == row["ref_base"]


IMPORT_OPTIONS = {
    "original.pth": [],
    "optimized.ckpt": ["--final-activation", "none", "--concat-order", "fx,x"],
    "human.ckpt": [
        "--concat-order",
        "fx,x",
        "--alphabet",
        "AGCT",
        "--n-value",
        "0.25",
        "--pool-sizes",
        "2,2,2,2",
        "--rc-trained",
    ],
}


@pytest.mark.parametrize("file", list(IMPORT_OPTIONS))
def test_published_scores_through_the_command_line(tmp_path: Path, shared: Path, file: str, cli: Any) -> None:
    """Imported published networks score the reference sequences within 1e-4, from files, on both engines."""
    pytest.importorskip("torch", reason="importing needs legscore[train]")
    vectors = np.load(shared / "reference" / f"{file.split('.')[0]}_io.npz")
    model = tmp_path / "m.safetensors"
    assert cli("import", shared / "reference" / file, "-o", model, *IMPORT_OPTIONS[file]).code == 0
    (tmp_path / "s.tsv").write_text("sequence\n" + "\n".join(vectors["sequence"]) + "\n")
    for engine in ("openvino", "torch") if LONG or file == "human.ckpt" else ("openvino",):
        ran = cli(
            "run",
            tmp_path / "s.tsv",
            "-m",
            model,
            "--force",
            "-o",
            tmp_path / "o.parquet",
            "--precision",
            "fp32",
            "--engine",
            engine,
        )
        assert ran.code == 0, ran.err
        assert "read as window" in ran.err
        error = np.abs(
            np.array(pq.read_table(tmp_path / "o.parquet")["score"]) - vectors["score_rc_averaged"]
        ).max()
        assert error < 1e-4, (engine, error)


@pytest.mark.long
def test_measured_native_variants(tmp_path: Path, shared: Path, cli: Any) -> None:
    """The bundled model's effects on measured variants correlate as README says (a sample; FP32)."""
    stats = pytest.importorskip("scipy.stats")
    t = pq.read_table(shared / "data/native_variants_measured.parquet")
    t = t.filter(pa.compute.is_valid(t["complex_delta"])).take(list(range(0, 3703, 12)))
    pq.write_table(t, tmp_path / "v.parquet")
    assert cli("run", tmp_path / "v.parquet", "-o", tmp_path / "o.parquet", "--precision", "fp32").code == 0
    out = pq.read_table(tmp_path / "o.parquet")
    assert set(out["status"].to_pylist()) == {"ok"}
    r = stats.pearsonr(out["effect"].to_numpy(), out["complex_delta"].to_numpy())[0]
    assert 0.6 < r < 0.8


def test_progress_on_a_terminal_only(tmp_path: Path, toy_model: Path) -> None:
    """A bar with rows and time left on a terminal; plain lines in a pipe."""
    pty = pytest.importorskip("pty")
    (tmp_path / "s.csv").write_text("id,sequence\n" + "x,ACGT\n" * 100_000)
    command = [
        sys.executable,
        "-m",
        "legscore",
        "run",
        tmp_path / "s.csv",
        "-m",
        toy_model,
        "--force",
        "-o",
        tmp_path / "o.parquet",
        "--engine",
        "null",
    ]
    piped = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "\r" not in piped.stderr
    assert "rows/s" in piped.stderr
    import fcntl
    import struct
    import termios

    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    process = subprocess.Popen(command, stderr=slave, stdout=slave)
    os.close(slave)
    shown = b""
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:
            break
        if not chunk:
            break
        shown += chunk
    assert process.wait() == 0
    assert re.search(rb"scoring: 100%.*100000/100000 \[.*rows/s\]", shown), shown[-500:]


def test_run_record(tmp_path: Path, pairs: Path, toy_models: Path, cli: Any) -> None:
    assert cli("run", pairs, "-m", toy_models, "-o", tmp_path / "o.parquet", "--engine", "null").code == 0
    record = json.loads((tmp_path / "o.parquet.run.json").read_text())
    assert record["status"] == {"ok": 40}
    assert record["windows_asked"] == record["windows_scored"] == 80
    assert record["engine"]["warning"].startswith("every score is zero")
    assert record["rows_per_s"] > 0
    assert len(record["models"]) == 3


def test_an_input_is_never_overwritten(tmp_path: Path, toy_model: Path, cli: Any) -> None:
    """Named itself, found in a directory, matched by a pattern, or behind a link."""
    folder = tmp_path / "in"
    folder.mkdir()
    pq.write_table(pa.table({"id": [1], "sequence": ["ACGT"]}), folder / "a.parquet")
    (tmp_path / "link.parquet").symlink_to(folder / "a.parquet")
    before = (folder / "a.parquet").read_bytes()
    for source, out in (
        (folder, folder / "a.parquet"),
        (f"{folder}/*.parquet", folder / "a.parquet"),
        (folder, tmp_path / "link.parquet"),
    ):
        ran = cli("run", source, "-m", toy_model, "-o", out, "--engine", "null")
        assert ran.code == 2
        assert "is both input and output" in ran.err
    assert (folder / "a.parquet").read_bytes() == before


def test_odd_columns_are_carried_or_refused_before_any_work(
    tmp_path: Path, toy_model: Path, cli: Any
) -> None:
    import datetime
    import decimal

    t = pa.table({
        "sequence": ["ACGT", "GGGG"], 'a"b,c': ["x,y", ""], "when": pa.array([datetime.datetime(2026, 1, 2), None]),
        "price": pa.array([decimal.Decimal("1.10"), None]), "yes": [True, None], "kind": pa.array(["p", "q"]).dictionary_encode(),
        "big": pa.array([2**63, None], pa.uint64()), "duration": pa.array([datetime.timedelta(1), None]),
        "none": pa.nulls(2),
    })  # fmt: skip
    pq.write_table(t, tmp_path / "odd.parquet")
    for name in ("o.parquet", "o.arrow", "o.csv"):
        ran = cli("run", tmp_path / "odd.parquet", "-m", toy_model, "-o", tmp_path / name, "--engine", "null")
        assert ran.code == 0, (name, ran.err)
    got = pq.read_table(tmp_path / "o.parquet")
    for column in t.column_names[1:]:
        assert got[column].to_pylist() == t[column].to_pylist()
    again = cli(
        "run",
        tmp_path / "o.csv",
        "-m",
        toy_model,
        "-o",
        tmp_path / "p.csv",
        "--engine",
        "null",
        "--column",
        'sequence=a"b,c',
        "--keep",
        "none",
    )
    assert again.code == 0, again.err
    assert (tmp_path / "p.csv").read_text().count("invalid_base") == 1
    nested = pa.table(
        {
            "sequence": ["ACGT"],
            "parts": pa.array([[1, 2]]),
            "raw": [b"a,\xff"],
            "odd": pa.array([None], pa.month_day_nano_interval()),
        }
    )
    with pa.ipc.new_file(str(tmp_path / "nested.arrow"), nested.schema) as writer:
        writer.write_table(nested)
    for out, message in (
        ("q.csv", "'parts' is list"),
        ("q.parquet", "'odd' is month_day_nano_interval, which parquet cannot hold"),
    ):
        ran = cli(
            "run", tmp_path / "nested.arrow", "-m", toy_model, "-o", tmp_path / out, "--engine", "null", "-q"
        )
        assert (ran.code, ran.err.count("\n")) == (2, 1), ran.err
        assert message in ran.err
    assert (
        cli(
            "run", tmp_path / "nested.arrow", "-m", toy_model, "-o", tmp_path / "q.arrow", "--engine", "null"
        ).code
        == 0
    )


def test_an_unusable_cache_is_said_and_survived(
    tmp_path: Path, toy_model: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("torch")
    monkeypatch.setenv("LEGSCORE_CACHE", "/dev/null/cache")
    (tmp_path / "s.csv").write_text("sequence\nACGT\n")
    ran = cli(
        "run",
        tmp_path / "s.csv",
        "-m",
        toy_model,
        "-o",
        tmp_path / "o.csv",
        "--engine",
        "torch",
        "--precision",
        "fp32",
    )
    assert ran.code == 0, ran.err
    assert "fidelity: not remembered (/dev/null/cache" in ran.err


@pytest.mark.parametrize(("name", "code"), [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)])
def test_signals_end_a_run_at_once_and_leave_nothing(
    tmp_path: Path, toy_model: Path, name: str, code: int
) -> None:
    """With the real engine in the middle of a part."""
    import signal
    import time

    rng = np.random.default_rng(0)
    letters = np.frombuffer(b"AGCT", np.uint8)[rng.integers(0, 4, (200_000, 80))]
    pq.write_table(
        pa.table({"sequence": [row.tobytes().decode() for row in letters]}), tmp_path / "s.parquet"
    )
    command = [
        sys.executable,
        "-m",
        "legscore",
        "run",
        tmp_path / "s.parquet",
        "-o",
        tmp_path / "o.parquet",
        "--precision",
        "fp32",
    ]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (tmp_path / "o.parquet.parts" / "output").exists() and process.poll() is None:
        time.sleep(0.05)
    time.sleep(1)
    started = time.perf_counter()
    process.send_signal(getattr(signal, name))
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert time.perf_counter() - started < 10
    assert "Traceback" not in err
    assert [p.name for p in tmp_path.iterdir()] == ["s.parquet"]


def test_output_through_a_link_goes_to_its_target(tmp_path: Path, toy_model: Path, cli: Any) -> None:
    (tmp_path / "s.csv").write_text("sequence\nACGT\n")
    (tmp_path / "real.csv").write_text("old")
    (tmp_path / "link.csv").symlink_to(tmp_path / "real.csv")
    given = ("run", tmp_path / "s.csv", "-m", toy_model, "-o", tmp_path / "link.csv", "--engine", "null")
    ran = cli(*given)
    assert "link.csv is there already; choose another -o, or add --force to replace it" in ran.err
    assert (ran.code, (tmp_path / "real.csv").read_text()) == (2, "old")
    assert cli(*given, "--force").code == 0
    assert (tmp_path / "link.csv").is_symlink()
    assert (tmp_path / "real.csv").read_text().startswith("sequence,score")


def test_missing_value_words_are_null(tmp_path: Path, toy_model: Path, cli: Any) -> None:
    (tmp_path / "s.csv").write_text("id,sequence\n1,NA\n2,nan\n3,\n4,ACGT\n")
    assert (
        cli("run", tmp_path / "s.csv", "-m", toy_model, "-o", tmp_path / "o.csv", "--engine", "null").code
        == 0
    )
    assert (tmp_path / "o.csv").read_text().count("null_sequence") == 3


def test_it_is_said_when_most_rows_have_no_score(world: Path, toy_model: Path, cli: Any, contig: str) -> None:
    """Positions counted from 0, and a table of proteins; not where half of the rows have a score, nor for
    alleles in no tile."""
    assert set(WHAT_TO_CHECK) == set(STATUSES) - {"ok", "no_window"}
    assert mostly_unscored({"ok": 50, "edge": 50}) is None
    assert mostly_unscored({"ok": 1, "no_window": 99}) is None
    assert mostly_unscored({}) is None
    line = mostly_unscored({"ok": 17, "ref_mismatch": 70, "edge": 13})
    assert line is not None
    assert "70 of 100 REFs differ from the genome: another build, or 0-based positions?" in line
    (world / "t.bed").write_text("1\t100\t120\tx\t0\t+\n")
    places = [p for p in range(101, 120) if contig[p] != contig[p - 1]]
    other = {"A": "C", "C": "A", "G": "T", "T": "G"}
    rows = [f"1\t{p}\t{contig[p]}\t{other[contig[p]]}\n" for p in places]  # counted from 0
    (world / "zero.tsv").write_text("chrom\tpos\tref\talt\n" + "".join(rows))
    given = ("-m", toy_model, "--engine", "null", "--log-json", world / "events.jsonl")
    genome = ("--fasta", world / "g.fa", "--tiles", world / "t.bed")
    ran = cli("run", world / "zero.tsv", *genome, *given, "-o", world / "o.parquet")
    assert ran.code == 0, ran.err
    assert "warning: most rows have no score" in ran.err
    assert f" of {len(places)} REFs" in ran.err
    warned = [json.loads(line) for line in (world / "events.jsonl").read_text().splitlines()]
    assert [event["kind"] for event in warned if event["event"] == "warning"] == ["most rows without a score"]
    (world / "p.csv").write_text("sequence\nMKLV\nPQRE\nACGT\n")
    ran = cli("run", world / "p.csv", *given, "-o", world / "p.parquet")
    assert "2 of 3 sequences hold letters that are no bases" in ran.err


def test_the_record_says_how_it_came_about(
    tmp_path: Path, toy_model: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command as it was given, where, with which versions, and what was read: enough to do it again."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a table.csv").write_text("sequence\nACGT\n")
    words = [
        "run",
        "a table.csv",
        "-m",
        str(toy_model),
        "--engine",
        "null",
        "--part-rows",
        "137",
        "-o",
        "o.csv",
    ]
    assert cli(*words).code == 0
    record = json.loads((tmp_path / "o.csv.run.json").read_text())
    assert shlex.split(record["command"]) == ["legscore", *words]
    assert record["directory"] == str(tmp_path)
    assert record["libraries"] == {"numpy": np.__version__, "pyarrow": pa.__version__}
    assert record["legscore"] == legscore.__version__
    (stamps,) = record["asked"]["read"].values()
    assert stamps
    called = legscore.score_file(
        tmp_path / "a table.csv",
        "p.csv",
        models=[toy_model],
        engine="null",
        verify=0,
        columns={"sequence": "sequence"},
    )
    assert called["command"] == {
        "function": "legscore.score_file",
        "arguments": {
            "inputs": str(tmp_path / "a table.csv"),
            "output": "p.csv",
            "models": [str(toy_model)],
            "columns": {"sequence": "sequence"},
            "sequence_is": "auto",
            "engine": "null",
            "singleton": 0,
            "null_rate": 0.0,
            "keep": "auto",
            "precision": "auto",
            "verify": 0,
        },
    }
