"""Files that claim, hide, overflow, mislead or run code (tests/data/hostile, made by make_hostile.py; larger
ones are made here).

Whatever they are, the outcome is right scores, a status for a row, or one clear line; within 10 s and bounded
memory.
"""

from __future__ import annotations

import os
import re
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import make_hostile
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import REPOSITORY, toy_checkpoint

FOLDER = REPOSITORY / "tests" / "data" / "hostile"
RUN = "run {file} -m {model} -o {out}.parquet --engine null"
SHOW = "show {file}"
TILES = "variants --fasta {genome} --promoters {file} -o {out}.parquet"
VCF = "variants {file} --fasta {genome} --centered -o {out}.parquet"
IMPORT = "import {file} -o {out}.safetensors"
RECIPE = "run {good} -m {model} -o {out}.parquet --engine openvino --recipe {file}"

REFUSED = {
    "cut_in_footer.parquet": (RUN, "cannot be read as Parquet"),
    "cut_in_page.parquet": (RUN, "cut_in_page.parquet: reading stopped: .*damaged or cut short"),
    "flipped_page.parquet": (RUN, "reading stopped: .*(CRC|checksum)"),
    "footer_of_2_gb.parquet": (RUN, "cannot be read as Parquet"),
    "no_name.parquet": (RUN, None),
    # pyarrow says so from the version on that writes these statistics
    "optional_made_required.parquet": (RUN, None),
    "offsets_outside.arrow": (RUN, "offsets_outside.arrow: reading stopped"),
    "offsets_that_fall.arrow": (RUN, "offsets_that_fall.arrow: reading stopped"),
    "numbers_outside_the_dictionary.arrow": (RUN, "numbers_outside_the_dictionary.arrow: reading stopped"),
    "cut.arrow": (RUN, "cannot be read as Arrow"),
    "cut.csv.gz": (RUN, "cut.csv.gz cannot be read as CSV"),
    "flipped.csv.gz": (RUN, "flipped.csv.gz cannot be read as CSV"),
    "line_without_end.csv.gz": (RUN, "line_without_end.csv.gz cannot be read as CSV: .*straddl"),
    "record_without_end.fa.gz": (RUN, "a record of more than 256 MiB"),
    "zero_bytes.fa": (RUN, r"a line that holds a NUL byte: .*\(line 2\)"),
    "line_without_end.gtf.gz": (TILES, "a line of more than 64 MiB"),
    "positions_too_large.vcf": (VCF, "positions_too_large.vcf"),
    "not_text.vcf": (VCF, "its header names a contig or sample that is no UTF-8 text"),
    "header_of_9_eb.safetensors": (SHOW, "is not a safetensors file"),
    "header_of_99_mb.safetensors": (SHOW, "is not a safetensors file"),
    "nested_header.safetensors": (SHOW, "is not a safetensors file"),
    "nested_manifest.safetensors": (SHOW, "its manifest is not JSON"),
    "overlapping.safetensors": (SHOW, "is not a safetensors file"),
    "claims_2_gb.safetensors": (SHOW, "is not a safetensors file"),
    "architecture_of_4_tb.safetensors": (SHOW, "more than 200 million elements"),
    "nan_weight.safetensors": (SHOW, "array stem.conv.weight holds NaN or infinity"),
    "wrong_type.safetensors": (SHOW, "array stem.conv.weight is I32; checkpoints hold F16 or F32"),
    "runs_code.pkl": (IMPORT, "Files that hold Python objects are refused"),
    "runs_code.pth": (IMPORT, "Files that hold Python objects are refused"),
    "unpacks_to_100_mb.pth": (IMPORT, "claims more than it holds, or is packed"),
    "one_number_as_a_terabyte.pth": (IMPORT, "claims 274,877,906,944 elements"),
    "nested.toml": (RECIPE, "nested.toml: not TOML"),
    "thresholds_that_let_everything_pass.toml": (RECIPE, "fidelity.score_pearson_min is nan, no correlation"),
}
"""File → command, and what the one line says (None: either outcome is right)."""
TAKEN = {
    "one_value_many_times.parquet": "rows: 60 (too_long 60)",
    "prefixes_of_1_mb.parquet": "rows: 60 (too_long 60)",
    "row_groups_of_one.parquet": "rows: 40 (ok 40)",
    "names_that_write_to_the_terminal.parquet": "rows: 40 (ok 40)",
    "zero_bytes.csv": "rows: 2 (ok 1, invalid_base 1)",
}
"""File → what the summary says: these are read, with a status where a row has no score."""
SHOWN = ("note_for_the_terminal.safetensors",)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, contig: str) -> dict[str, Any]:
    import pysam

    monkeypatch.chdir(tmp_path)
    (tmp_path / "genome.fa").write_text(f">1\n{contig}\n")
    pysam.faidx(str(tmp_path / "genome.fa"))
    (tmp_path / "good.csv").write_text("sequence\nACGT\n")
    return {"genome": tmp_path / "genome.fa", "good": tmp_path / "good.csv", "out": tmp_path / "out"}


def words(line: str, **places: Any) -> list[str]:
    return [word.format(**places) for word in line.split()]


def plain(err: str) -> bool:
    """Nothing in it that a terminal would do more than show."""
    return not any((c < " " and c != "\n") or "\x7f" <= c <= "\x9f" or c == "\u202e" for c in err)


def test_the_corpus_is_what_its_maker_makes() -> None:
    names = {path.name for path in FOLDER.iterdir()}
    assert names == set(make_hostile.FILES)
    assert names == {*REFUSED, *TAKEN, *SHOWN}


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_files_are_refused_in_one_line(
    name: str, place: dict[str, Any], toy_model: Path, cli: Any
) -> None:
    line, message = REFUSED[name]
    if line is IMPORT:
        pytest.importorskip("torch", reason="importing PyTorch files needs legscore[train]")
    before = set(Path().iterdir())
    ran = cli(*words(line, file=FOLDER / name, model=toy_model, **place))
    assert plain(ran.err)
    if message is None:
        assert ran.code in (0, 2)
        return
    assert ran.code == 2, ran.err
    last = ran.err.splitlines()[-1]
    assert last.startswith("legscore: ")
    assert re.search(message, last), last
    assert set(Path().iterdir()) == before, "something was left, or code ran"


@pytest.mark.parametrize("name", TAKEN)
def test_hostile_files_are_read_with_a_status(
    name: str, place: dict[str, Any], toy_model: Path, cli: Any
) -> None:
    ran = cli(*words(RUN, file=FOLDER / name, model=toy_model, **place))
    assert ran.code == 0, ran.err
    assert TAKEN[name] in ran.err
    assert plain(ran.err)


@pytest.mark.parametrize("name", ["one_value_many_times.parquet", "prefixes_of_1_mb.parquet"])
def test_what_unfolds_is_refused_where_it_does_not_fit(
    name: str, place: dict[str, Any], toy_model: Path, cli: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """60 MB as text, from a few kilobytes; a part may take 32 MiB of 256."""
    # it would hold the tests to it
    monkeypatch.setattr("legscore.system.memory.limit_process_memory", lambda limits: None)
    ran = cli(*words(RUN, file=FOLDER / name, model=toy_model, **place), "--memory", "256M", "-q")
    assert ran.code == 2
    assert "of columns sequence take more than 32 MiB" in ran.err


def test_notes_for_the_terminal_are_shown_not_done(place: dict[str, Any], cli: Any) -> None:
    note = FOLDER / "note_for_the_terminal.safetensors"
    for line in (SHOW, "run {good} -m {file} -o {out}.csv --engine null"):
        ran = cli(*words(line, file=note, **place))
        assert ran.code == 0
        assert plain(ran.out + ran.err)
        assert r"\x1b[2J\x1b[31mtrust me legscore: all is well" in ran.out + ran.err


def test_ten_thousand_columns(place: dict[str, Any], toy_model: Path, tmp_path: Path, cli: Any) -> None:
    names = [f"c{i}" for i in range(10_000)]
    pq.write_table(
        pa.table([pa.array(["ACGT"] * 3), *[pa.array([1, 2, 3])] * 10_000], names=["sequence", *names]),
        "wide.parquet",
    )
    ran = cli(
        "run", "wide.parquet", "-m", toy_model, "-o", "o.parquet", "--engine", "null", "--keep", "c0,c9999"
    )
    assert ran.code == 0, ran.err
    assert pq.read_table("o.parquet")["c9999"].to_pylist() == [1, 2, 3]
    pq.write_table(pa.table([pa.array([1])] * 10_000, names=names), "none.parquet")
    ran = cli("run", "none.parquet", "-m", toy_model, "-o", "p.parquet", "--engine", "null")
    assert ran.code == 2
    assert len(ran.err) < 600, "an error that lists them all"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes and links of Unix")
def test_what_is_no_file_is_refused_at_once(
    place: dict[str, Any], toy_model: Path, tmp_path: Path, cli: Any
) -> None:
    os.mkfifo("pipe.safetensors")
    os.mkfifo("pipe.toml")
    os.symlink("/dev/zero", "zero.safetensors")
    os.symlink("/dev/zero", "zero.toml")
    os.symlink("loop.parquet", "loop.parquet")
    os.symlink("/nowhere", "dangling.safetensors")
    started = time.perf_counter()
    for line in (
        "show pipe.safetensors",
        "show zero.safetensors",
        "show dangling.safetensors",
        "run loop.parquet -m {model} -o o.csv",
        "run /dev/zero -m {model} -o o.csv",
        "run {good} -m {model} -o o.csv --engine openvino --recipe zero.toml",
        "run {good} -m {model} -o o.csv --engine openvino --recipe pipe.toml",
    ):
        ran = cli(*words(line, model=toy_model, **place))
        assert ran.code == 2, line
        assert ran.err.splitlines()[-1].startswith("legscore: ")
    assert time.perf_counter() - started < 10


def test_links_in_a_directory_of_models(
    place: dict[str, Any], toy_model: Path, tmp_path: Path, cli: Any
) -> None:
    """A link to a checkpoint is that checkpoint, and the same one twice is found out; a link to anything else
    is an error."""
    models = tmp_path / "models"
    models.mkdir()
    (models / "a.safetensors").symlink_to(toy_model)
    assert cli("run", place["good"], "-m", models, "-o", "o.csv", "--engine", "null").code == 0
    (models / "b.safetensors").symlink_to(models / "a.safetensors")
    ran = cli("run", place["good"], "-m", models, "-o", "p.csv", "--engine", "null")
    assert "is the same model as" in ran.err
    (models / "b.safetensors").unlink()
    for target in (tmp_path, Path("/etc/passwd"), Path("/dev/null"), models / "b.safetensors"):
        (models / "b.safetensors").symlink_to(target)
        ran = cli("run", place["good"], "-m", models, "-o", "p.csv", "--engine", "null")
        assert ran.code == 2, target
        assert "b.safetensors: " in ran.err.splitlines()[-1]
        assert "root:" not in ran.err
        (models / "b.safetensors").unlink()


@pytest.mark.skipif(sys.platform != "linux", reason="sparse files")
def test_a_sparse_file_of_a_terabyte_is_not_read(place: dict[str, Any], cli: Any) -> None:
    for name in ("large.safetensors", "large.ckpt", "large.toml"):
        with open(name, "wb") as stream:
            stream.truncate(1 << 40)
    assert "a checkpoint has at most" in cli("show", "large.safetensors").err
    pytest.importorskip("torch", reason="importing PyTorch files needs legscore[train]")
    assert "no more than" in cli("import", "large.ckpt", "-o", "o.safetensors").err


def huge(tmp_path: Path, name: str, factor: float) -> Path:
    """A model whose array is finite, and `factor` times as large."""
    made = toy_checkpoint(1)
    path = tmp_path / "m.safetensors"
    replace(
        made, arrays={**made.arrays, name: (made.arrays[name] * np.float32(factor)).astype(np.float32)}
    ).save(path)
    return path


def test_weights_that_overflow_when_folded_are_refused(
    place: dict[str, Any], tmp_path: Path, cli: Any
) -> None:
    model = huge(tmp_path, "blocks.0.se.bilinear.factor_2", 1e38)
    ran = cli("run", place["good"], "-m", model, "-o", "o.csv", "--engine", "openvino", "--precision", "fp32")
    assert ran.code == 2
    assert ran.err.splitlines()[-1].endswith(
        "m.safetensors: its weights overflow float32 where normalisation is folded into them; the file is damaged or its training diverged"
    )


def test_scores_that_overflow_are_a_status_not_a_number(
    place: dict[str, Any], tmp_path: Path, cli: Any
) -> None:
    model = huge(tmp_path, "blocks.1.mix.conv.weight", 1e38)
    ran = cli("run", place["good"], "-m", model, "-o", "o.csv", "--engine", "openvino", "--precision", "fp32")
    assert ran.code == 0, ran.err
    assert "rows: 1 (nonfinite 1)" in ran.err
