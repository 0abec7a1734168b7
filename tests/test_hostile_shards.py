"""Shards whose metadata anybody may have written: one line, in little memory and time; types stored in other
ways are joined."""

from __future__ import annotations

import base64
import json
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import Ran, one_line, random_dna

Cli = Callable[..., Ran]
ROWS = 100


@pytest.fixture
def shards(tmp_path: Path, toy_model: Path, cli: Cli) -> list[Path]:
    """Two shards of 50 rows in parts of 10, Parquet."""
    rng = np.random.default_rng(0)
    table = {
        "gene": [f"g{i % 7}" for i in range(ROWS)],
        "sequence": [random_dna(rng, 80) for _ in range(ROWS)],
    }
    pq.write_table(pa.table(table), tmp_path / "in.parquet")
    given = ("-m", toy_model, "--engine", "null", "--part-rows", 10, "-q", "--keep", "gene")
    paths = [tmp_path / f"{i}.parquet" for i in (1, 2)]
    for i, path in enumerate(paths, 1):
        assert cli("run", tmp_path / "in.parquet", *given, "-o", path, "--shard", f"{i}/2").code == 0
    return paths


def metadata_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pq.read_schema(path).metadata[b"legscore"])
    return found


def rewrite(path: Path, metadata: Any, table: pa.Table | None = None) -> None:
    raw = metadata if isinstance(metadata, bytes) else json.dumps(metadata).encode()
    table = pq.ParquetFile(path).read() if table is None else table
    pq.write_table(table.replace_schema_metadata({b"legscore": raw}), path)


SHARD: dict[str, Any] = {
    "the first of a billion": {"of": 10**9 - 1, "index": 1, "first_row": 0, "rows": 0},
    "a billion shards": {"of": 10**9 - 1},
    "more shards than may be": {"of": 10**30},
    "negative rows": {"rows": -5},
    "rows beyond": {"rows": 10**18},
    "rows of a number": {"rows": 50.0},
    "rows true": {"rows": True},
    "index 0": {"index": 0},
    "first row": {"first_row": 10},
    "no schema": {"schema": ""},
    "schema of noise": {"schema": base64.b64encode(b"\xff" * 64).decode()},
    "schema of no base64": {"schema": "!!!"},
    "schema of nothing": {"schema": base64.b64encode(pa.schema([]).serialize().to_pybytes()).decode()},
    "other schema": {"schema": base64.b64encode(pa.schema([("x", pa.int8())]).serialize().to_pybytes()).decode()},
    "schema null": {"schema": None},
    "input": {"input_sha256": 3},
}  # fmt: skip


@pytest.mark.parametrize("what", SHARD)
def test_shards_that_say_anything(tmp_path: Path, shards: list[Path], cli: Cli, what: str) -> None:
    shards = shards[:1] if what == "the first of a billion" else shards
    for path in shards:
        metadata = metadata_of(path)
        metadata["shard"].update(SHARD[what])
        rewrite(path, metadata)
    tracemalloc.start()
    started = time.perf_counter()
    ran = cli("merge", *shards, "-o", tmp_path / "m.parquet")
    peak, seconds = tracemalloc.get_traced_memory()[1], time.perf_counter() - started
    tracemalloc.stop()
    one_line(
        ran, ".parquet" if what != "the first of a billion" else "9 and 999,999,990 more of 999,999,999 are"
    )
    assert peak < 20 << 20
    assert seconds < 10
    assert not (tmp_path / "m.parquet").exists()


@pytest.mark.parametrize(
    ("where", "name", "value"),
    [("options", "singleton", False), ("contract", "rc_trained", 1)],
)
def test_a_number_in_the_place_of_a_truth_value_is_another_run(
    tmp_path: Path, shards: list[Path], cli: Cli, where: str, name: str, value: Any
) -> None:
    """In Python true equals 1; the joined file would carry the wrong one."""
    metadata = metadata_of(shards[0])
    metadata[where][name] = value
    rewrite(shards[0], metadata)
    one_line(cli("merge", *shards, "-o", tmp_path / "m.parquet"), f"{where} {name}")


@pytest.mark.parametrize(
    "raw",
    [
        b"[]",
        b"null",
        b"{",
        b'{"shard": ' + b"[" * 100_000,
        b"\xff\xfe",
        b'{"shard": 1e999}',
        b'{"shard": {}}',
    ],
    ids=lambda raw: repr(raw[:20]),
)
def test_metadata_that_is_none(tmp_path: Path, shards: list[Path], cli: Cli, raw: bytes) -> None:
    rewrite(shards[1], raw)
    one_line(cli("merge", *shards, "-o", tmp_path / "m.parquet"), "2.parquet")


@pytest.mark.parametrize("part_rows", [0, -1, "10", None, 10**30, 3, 1.5])
def test_part_rows_that_cannot_be(tmp_path: Path, shards: list[Path], cli: Cli, part_rows: Any) -> None:
    for path in shards:
        metadata = metadata_of(path)
        metadata["options"]["part_rows"] = part_rows
        rewrite(path, metadata)
    one_line(cli("merge", *shards, "-o", tmp_path / "m.parquet"), ".parquet")


@pytest.mark.parametrize(
    "raw", [b"[]", b"{", b"[" * 100_000, b"\xff", b'{"shard": 3}', b'{"output_files": []}']
)
def test_records_of_text_shards(tmp_path: Path, toy_model: Path, cli: Cli, raw: bytes) -> None:
    (tmp_path / "in.csv").write_text("sequence\n" + "ACGTACGTAC\n" * 20)
    given = ("run", tmp_path / "in.csv", "-m", toy_model, "--engine", "null", "-q", "--shard", "1/1")
    assert cli(*given, "-o", tmp_path / "1.csv").code == 0
    (tmp_path / "1.csv.run.json").write_bytes(raw)
    one_line(cli("merge", tmp_path / "1.csv", "-o", tmp_path / "m.csv"), "1.csv")


def test_text_shards_with_a_flipped_bit(tmp_path: Path, toy_model: Path, cli: Cli) -> None:
    (tmp_path / "in.csv").write_text("sequence\n" + "ACGTACGTAC\n" * 20)
    given = ("run", tmp_path / "in.csv", "-m", toy_model, "--engine", "null", "-q", "--shard", "1/1")
    assert cli(*given, "-o", tmp_path / "1.csv").code == 0
    content = bytearray((tmp_path / "1.csv").read_bytes())
    content[40] ^= 1
    (tmp_path / "1.csv").write_bytes(content)
    one_line(
        cli("merge", tmp_path / "1.csv", "-o", tmp_path / "m.csv"), "1.csv is not what 1.csv.run.json says"
    )


@pytest.mark.parametrize("kind", [pa.large_string(), pa.dictionary(pa.int32(), pa.string()), pa.null()])
def test_text_stored_in_another_way_is_joined(
    tmp_path: Path, shards: list[Path], cli: Cli, kind: pa.DataType
) -> None:
    """As a tool that wrote a shard again stores it, with the schema that it found."""
    table = pq.ParquetFile(shards[1]).read()
    column = pa.nulls(table.num_rows) if pa.types.is_null(kind) else table["gene"].combine_chunks().cast(kind)
    metadata = metadata_of(shards[1])
    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(metadata["shard"]["schema"])))
    schema = schema.set(schema.get_field_index("gene"), pa.field("gene", kind))
    metadata["shard"]["schema"] = base64.b64encode(schema.serialize().to_pybytes()).decode()
    rewrite(shards[1], metadata, table.set_column(table.schema.get_field_index("gene"), "gene", column))
    ran = cli("merge", *shards, "-o", tmp_path / "m.parquet")
    assert ran.code == 0, ran.err
    joined = pq.read_table(tmp_path / "m.parquet")
    first = [f"g{i % 7}" for i in range(50)]
    second = [None] * 50 if pa.types.is_null(kind) else [f"g{i % 7}" for i in range(50, ROWS)]
    assert joined["gene"].to_pylist() == first + second
    assert joined.schema.field("gene").type == pa.string()


def test_a_finished_join_is_told(tmp_path: Path, shards: list[Path], cli: Cli) -> None:
    out = tmp_path / "m.parquet"
    assert cli("merge", *shards, "-o", out).code == 0
    again = cli("merge", *shards, "-o", out)
    assert (again.code, again.err) == (0, f"{out}: already finished (100 rows); --force joins it again\n")
    one_line(cli("merge", *reversed(shards[:1]), "-o", out), "differs from this one", "--force")
    out.write_bytes(out.read_bytes() + b" ")
    one_line(cli("merge", *shards, "-o", out), "is there already and not what", "--force")
    assert cli("merge", *shards, "-o", out, "--force").code == 0
