"""Damage of every kind, to every kind of file that legscore reads, for a bounded time: seeded damage to bytes
and fields through the command line (`bench/fuzz.py` does 100,000 of it), and structures that hypothesis
makes.
"""

from __future__ import annotations

import importlib
import json
import struct
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import LONG, REPOSITORY, Ran, random_dna, toy_checkpoint
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from legscore.engine.recipe import load_recipe
from legscore.errors import LegscoreError
from legscore.model.checkpoint import load_checkpoint
from legscore.rows.schema import STATUSES

SECONDS = 60 if LONG else 6
BOUNDED = settings(
    max_examples=60, deadline=10_000, derandomize=True, suppress_health_check=list(HealthCheck)
)
"""Every input within 10 s; the same inputs each time."""


@pytest.fixture
def fuzz(monkeypatch: pytest.MonkeyPatch) -> Any:
    """bench/fuzz.py, which lies outside the package."""
    monkeypatch.syspath_prepend(REPOSITORY / "bench")
    names = ("machine", "fuzz_mutate", "fuzz_targets", "fuzz_companions", "fuzz_drawing", "fuzz")
    yield importlib.import_module("fuzz")
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read from /proc")
def test_seeded_damage_ends_in_scores_statuses_or_one_line(
    fuzz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """All targets in turn until the time is over, at least three inputs of each."""
    monkeypatch.setattr(sys, "argv", sys.argv[:])
    targets = fuzz.every_target(tmp_path)
    started, number, wrong = time.perf_counter(), 0, []
    with capfd.disabled():
        while time.perf_counter() - started < SECONDS or number < 3 * len(targets):
            target = targets[number % len(targets)]
            path = tmp_path / f"input{target.suffix}"
            path.write_bytes(fuzz.input_of(target, 7, number))
            outcome, why = fuzz.judged(target, path, tmp_path / "seen")
            if outcome not in ("scored", "refused"):
                wrong.append((target.name, number, outcome, why[-600:]))
            number += 1
    assert not wrong, f"of {number} inputs: {wrong}"


def test_undamaged_files_are_read(
    fuzz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Else the damage would test nothing."""
    monkeypatch.setattr(sys, "argv", sys.argv[:])
    with capfd.disabled():
        for target in fuzz.every_target(tmp_path):
            for seed in target.seeds:
                path = tmp_path / f"input{target.suffix}"
                path.write_bytes(seed)
                assert fuzz.judged(target, path, tmp_path / "seen") == ("scored", ""), (
                    target.name,
                    (tmp_path / "seen").read_text(),
                )


FOUND = (
    "parquet:2808", "parquet:1353", "arrow:44462", "bcf:11312", "vcf.gz:13339", "vcf.gz:36895", "vcf haplotypes:13233", "parquet:58189",
    "training recipe:66081",
)  # fmt: skip
"""Inputs of `bench/fuzz.py --seed 1` that ended in a traceback once."""


@pytest.mark.parametrize("found", FOUND)
def test_what_was_found_once(
    fuzz: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], found: str
) -> None:
    monkeypatch.setattr(sys, "argv", sys.argv[:])
    name, _, number = found.partition(":")
    with capfd.disabled():
        target = next(target for target in fuzz.every_target(tmp_path) if target.name == name)
        path = tmp_path / f"input{target.suffix}"
        path.write_bytes(fuzz.input_of(target, 1, int(number)))
        outcome, why = fuzz.judged(target, path, tmp_path / "seen")
    assert outcome in ("scored", "refused"), why


@pytest.mark.parametrize("older", [False, True])
def test_names_of_any_length_in_pickles_are_refused_at_once(tmp_path: Path, older: bool) -> None:
    """torch searches its own refusal with a pattern that takes minutes for these."""
    torch = pytest.importorskip("torch", reason="PyTorch files need legscore[train]")
    from legscore.model.state_dict import read_state

    class Named:
        def __reduce__(self) -> Any:
            return Named, ()

    Named.__module__, Named.__qualname__ = "__main__", "N"
    monkey = sys.modules["__main__"]
    monkey.N = Named  # type: ignore[attr-defined]
    try:
        torch.save({"state_dict": Named()}, tmp_path / "m.ckpt", _use_new_zipfile_serialization=not older)
    finally:
        del monkey.N  # type: ignore[attr-defined]
    content = (tmp_path / "m.ckpt").read_bytes()
    if older:
        (tmp_path / "m.ckpt").write_bytes(
            content.replace(b"c__main__\nN\n", b"c__main__\n" + b"N" * 300_000 + b"\n")
        )
    else:
        with zipfile.ZipFile(tmp_path / "m.ckpt") as old, zipfile.ZipFile(tmp_path / "n.ckpt", "w") as new:
            for entry in old.infolist():
                data = old.read(entry).replace(b"c__main__\nN\n", b"c__main__\n" + b"N" * 300_000 + b"\n")
                new.writestr(entry.filename, data)
        (tmp_path / "n.ckpt").replace(tmp_path / "m.ckpt")
    started = time.process_time()
    with pytest.raises(LegscoreError, match="names something with 300,009 characters"):
        read_state(tmp_path / "m.ckpt")
    assert time.process_time() - started < 5


def taken(call: Callable[[], Any]) -> tuple[Any, str]:
    """What a call returns, or what a LegscoreError says; anything else passes."""
    try:
        return call(), ""
    except LegscoreError as error:
        return None, str(error)


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["AGCT", "bins", "x,fx", "F1", 0.25, 150]),
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=12,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Paths to every entry of nested dictionaries and lists."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(found for key, one in inner for found in places(one, (*path, key)))]


def put(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copy: Any = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = put(value[path[0]], path[1:], new)
    return copy


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], bytes]:
    """A folder to write in; header and body of a good checkpoint."""
    folder = tmp_path_factory.mktemp("fuzz")
    toy_checkpoint(0, widths=(4, 4), inner_widths=(8,), pools=(1,)).save(folder / "m.safetensors")
    data = (folder / "m.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    return folder, json.loads(data[8 : 8 + length]), data[8 + length :]


@BOUNDED
@given(data=st.data())
def test_checkpoints_with_any_manifest_or_header(
    model: tuple[Path, dict[str, Any], bytes], data: st.DataObject
) -> None:
    """One entry replaced by anything: the model loads and is whole, or a ModelError says what is wrong."""
    folder, header, body = model
    if data.draw(st.booleans()):
        manifest = json.loads(header["__metadata__"]["legscore"])
        manifest = put(manifest, data.draw(st.sampled_from(places(manifest))), data.draw(JSON))
        header = {**header, "__metadata__": {"legscore": json.dumps(manifest)}}
    else:
        header = put(header, data.draw(st.sampled_from(places(header))), data.draw(JSON))
    text = json.dumps(header).encode("utf-8", "surrogatepass")
    path = folder / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)
    loaded, refusal = taken(lambda: load_checkpoint(path))
    if loaded is None:
        assert str(path) in refusal
        return
    assert {name: array.shape for name, array in loaded.arrays.items()} == loaded.architecture.shapes()
    assert all(np.isfinite(array).all() for array in loaded.arrays.values())


def toml(value: Any) -> str:
    """A value as TOML may write it; what TOML has no word for is left to fail."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + "}"
    return json.dumps(value)


@BOUNDED
@given(
    table=st.sampled_from(["", "openvino", "torch", "tensorrt", "fidelity"]),
    key=st.sampled_from(["precision", "batch", "streams", "x"]),
    value=JSON,
)
def test_recipes_with_any_value(
    tmp_path_factory: pytest.TempPathFactory, table: str, key: str, value: Any
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    text = (REPOSITORY / "engines" / "fp32.toml").read_text()
    line = f"{key} = {toml(value)}\n"
    lines = (
        [one for one in text.splitlines(keepends=True) if not one.startswith(f"{key} ")]
        if key != "x"
        else text.splitlines(keepends=True)
    )
    at = next((i + 1 for i, one in enumerate(lines) if one.startswith(f"[{table}]")), 0) if table else 0
    path.write_bytes("".join([*lines[:at], line, *lines[at:]]).encode("utf-8", "surrogatepass"))
    recipe, refusal = taken(lambda: load_recipe(str(path)))
    if recipe is None:
        assert "any.toml" in refusal
        return
    assert recipe.precision in ("fp32", "bf16", "fp16")


TEXTS = st.one_of(
    st.none(),
    st.text(max_size=20),
    st.sampled_from(["A" * 80, "ACGT" * 20, "N" * 80, "a" * 137, "ACGU", "NA", "A" * 200]),
)
NUMBERS = st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(0, 90))


@BOUNDED
@given(
    rows=st.lists(st.tuples(TEXTS, NUMBERS, TEXTS, st.binary(max_size=5)), max_size=12),
    kind=st.sampled_from(["parquet", "arrow", "dictionary", "large", "binary"]),
    name=st.text(st.characters(exclude_categories=["Cs"]), max_size=12),
)
def test_tables_of_anything(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], kind: str, name: str, toy_model: Path
) -> None:
    """Sequences, offsets and alleles of any text and number, under any other column's name: one row out for
    each in, a score where the status is ok and nowhere else; or a LegscoreError."""
    import legscore

    folder = tmp_path_factory.getbasetemp()
    texts = pa.array([row[0] for row in rows], pa.string())
    if kind == "dictionary":
        texts = texts.dictionary_encode()
    elif kind != "arrow":
        texts = texts.cast({"large": pa.large_string(), "binary": pa.binary()}.get(kind, pa.string()))
    columns = {
        "sequence": texts,
        "offset": pa.array([row[1] for row in rows], pa.int64()),
        "alt_base": pa.array([row[2] for row in rows], pa.string()),
    }
    columns.setdefault(name, pa.array([row[3] for row in rows], pa.binary()))
    path, out = folder / ("any.arrow" if kind == "arrow" else "any.parquet"), folder / "any.out.parquet"
    if kind == "arrow":
        with pa.ipc.new_file(str(path), pa.table(columns).schema) as writer:
            writer.write_table(pa.table(columns))
    else:
        pq.write_table(pa.table(columns), path)
    done, refusal = taken(lambda: legscore.score_file(path, out, models=toy_model, engine="null", force=True))
    if done is None:
        assert not rows or "column" in refusal, refusal
        return
    got = pq.read_table(out)
    assert got.num_rows == len(rows)
    assert set(got["status"].to_pylist()) <= set(STATUSES)
    assert [value is None for value in got["effect"].to_pylist()] == [
        status != "ok" for status in got["status"].to_pylist()
    ]


MADE = {"context": "genome", "length": 150, "sequence_is": "window", "tiles": "promoters"}


@BOUNDED
@given(data=st.data())
def test_metadata_of_anything(
    tmp_path_factory: pytest.TempPathFactory, toy_model: Path, data: st.DataObject
) -> None:
    """What `legscore variants` leaves in a file, with any entry replaced by anything, or no JSON at all."""
    import legscore

    record = {"legscore": "0", "variants": MADE}
    text = json.dumps(put(record, data.draw(st.sampled_from(places(record))), data.draw(JSON)))
    text = data.draw(st.sampled_from([text, text, text, "[" * 9000, text[:-3]]))
    rows = pa.table({"sequence": ["ACGT" * 20, "A" * 150]}).replace_schema_metadata(
        {"legscore": text.encode("utf-8", "surrogatepass")}
    )
    path, out = (
        tmp_path_factory.getbasetemp() / "made.parquet",
        tmp_path_factory.getbasetemp() / "made.out.parquet",
    )
    pq.write_table(rows, path)
    done, refusal = taken(lambda: legscore.score_file(path, out, models=toy_model, engine="null", force=True))
    assert refusal or done["rows"] == 2


def test_a_reader_that_stops_in_the_middle(tmp_path: Path, toy_model: Path, cli: Any) -> None:
    """Every length of a gzip, and of a Parquet file from its first page to its last byte: never a shorter
    table."""
    import gzip

    rng = np.random.default_rng(3)
    rows = "sequence\n" + "".join(random_dna(rng, 60) + "\n" for _ in range(40))
    whole = gzip.compress(rows.encode(), mtime=0)
    pq.write_table(pa.table({"sequence": rows.split()[1:]}), tmp_path / "w.parquet")
    for suffix, data, step in (
        (".csv.gz", whole, 97),
        (".parquet", (tmp_path / "w.parquet").read_bytes(), 331),
    ):
        for length in (*range(1, len(data), step), *range(len(data) - 9, len(data))):
            path = tmp_path / f"cut{suffix}"
            path.write_bytes(data[:length])
            ran: Ran = cli(
                "run", path, "-m", toy_model, "-o", tmp_path / "o.parquet", "--engine", "null", "-q"
            )
            assert (ran.code, ran.err.count("\n")) == (2, 1), (suffix, length, ran.err)
            assert not (tmp_path / "o.parquet").exists()
