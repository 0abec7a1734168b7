"""Tables in, tables out: every library's tables give the same numbers; what is no column is refused."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from conftest import random_dna

import legscore
from legscore.errors import InputError, LegscoreError

RNG = np.random.default_rng(7)
TEXTS = [random_dna(RNG, int(n)) for n in RNG.integers(60, 100, 40)]
ALTS = [t[:10] + ("A" if t[10] != "A" else "G") + t[11:] for t in TEXTS]
TABLE = pa.table({"id": [f"r{i}" for i in range(40)], "dna": TEXTS, "changed": ALTS, "at": [10] * 40})
TABLE = TABLE.append_column("base", pa.array([a[10] for a in ALTS]))


@pytest.fixture(scope="module")
def ensemble(toy_models: Path) -> Any:
    with legscore.load_ensemble(toy_models, engine="openvino", precision="fp32") as loaded:
        yield loaded


class OnlyStream:
    """What any other library offers: the protocol and nothing else."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


def polars(table: pa.Table) -> Any:
    return pytest.importorskip("polars").from_arrow(table)


def pandas(table: pa.Table) -> Any:
    pytest.importorskip("pandas")
    return table.to_pandas()


def categories(table: pa.Table) -> Any:
    pytest.importorskip("pandas")
    return table.to_pandas().astype({"dna": "category", "changed": "category"})


def polars_categories(table: pa.Table) -> Any:
    frame = polars(table)
    kind = pytest.importorskip("polars").Categorical
    return frame.with_columns(frame["dna"].cast(kind), frame["changed"].cast(kind), frame["id"].cast(kind))


def duckdb(table: pa.Table) -> Any:
    return pytest.importorskip("duckdb").from_arrow(table)


CONTAINERS: list[Callable[[pa.Table], Any]] = [
    lambda table: table,
    lambda table: table.combine_chunks().to_batches()[0],
    lambda table: table.to_reader(max_chunksize=7),
    lambda table: pa.dataset.dataset(table),
    OnlyStream,
    polars,
    polars_categories,
    pandas,
    categories,
    duckdb,
]


@pytest.mark.parametrize("container", CONTAINERS)
def test_every_table_gives_the_same_numbers(ensemble: Any, container: Callable[[pa.Table], Any]) -> None:
    """Sequences, pairs, edits and maps, from columns and from the tables of every library."""
    expected = ensemble.score(TEXTS)
    assert (ensemble.score(container(TABLE), columns={"sequence": "dna"}) == expected).all()
    pairs = ensemble.effects(TEXTS, ALTS)
    roles = {"ref_sequence": "dna", "alt_sequence": "changed"}
    assert (ensemble.effects(container(TABLE), columns=roles).effect == pairs.effect).all()
    edits = ensemble.score_edits(
        container(TABLE), columns={"sequence": "dna", "offset": "at", "alt_base": "base"}
    )
    assert (edits.effect == pairs.effect).all()
    assert (edits.ref_score == expected).all()
    maps = ensemble.saturate(container(TABLE.slice(0, 8)), columns={"sequence": "dna"})
    assert maps.names.tolist() == [f"r{i}" for i in range(8)]
    assert (maps.ref_score == expected[:8]).all()
    reader = ensemble.score_table(container(TABLE), columns={"sequence": "dna"}, kind="sequence")
    assert isinstance(reader, pa.RecordBatchReader)
    scored = reader.read_all()
    assert (np.array(scored["score"]) == expected).all()
    assert scored["id"].to_pylist() == TABLE["id"].to_pylist()


@pytest.mark.parametrize(
    "column", [lambda t: t["dna"], lambda t: polars(t)["dna"], lambda t: pandas(t)["dna"]]
)
def test_columns_of_every_library(ensemble: Any, column: Callable[[pa.Table], Any]) -> None:
    expected = ensemble.effects(TEXTS, ALTS)
    found = ensemble.effects(column(TABLE), ALTS)
    assert (found.effect == expected.effect).all()
    assert (ensemble.score(column(TABLE)) == expected.ref_score).all()


def test_edits_and_maps_are_those_of_spelt_out_pairs(ensemble: Any) -> None:
    """One sequence with many changes; its map holds the same effects at their places, nothing elsewhere."""
    text = TEXTS[0]
    offset = list(range(0, len(text), 3))
    base = ["ACGT"[("ACGT".index(text[o]) + 1) % 4] for o in offset]
    spelt = ensemble.effects(
        [text] * len(offset), [text[:o] + b + text[o + 1 :] for o, b in zip(offset, base, strict=True)]
    )
    edits = ensemble.score_edits(text, offset, base, ref_base=[text[o] for o in offset])
    assert np.allclose(edits.effect, spelt.effect, atol=1e-6)
    assert set(edits.status) == {"ok"}
    maps = ensemble.saturate([text, "ACGT" * 20, "XX", None], invalid="nan")
    assert maps.status.tolist() == ["ok", "ok", "invalid_base", "null_sequence"]
    found = maps[0].effect_BL["ACGT".index(base[1]), offset[1]]
    assert found == pytest.approx(spelt.effect[1], abs=1e-6)
    there = np.array(list("ACGT"))[:, None] == np.array(list(text))
    assert (np.isnan(maps[0].effect_BL) == there).all()
    assert np.isnan(maps.effect_NBL[2:]).all()
    assert np.isnan(maps.effect_NBL[1, :, 80:]).all()
    table = maps.to_arrow()
    assert table.num_rows == 3 * (len(text) + 80)
    assert table.schema.names[:4] == ["tile_id", "offset", "ref_base", "alt_base"]
    row = table.to_pylist()[3 * offset[1]]
    assert (row["offset"], row["ref_base"]) == (offset[1], text[offset[1]])
    with pytest.raises(InputError, match="sequence 2 has status invalid_base"):
        ensemble.saturate(["ACGT" * 20] * 2 + ["XX"])
    assert len(ensemble.saturate([])) == 0


def test_oligos_are_changed_in_their_insert_alone(ensemble: Any) -> None:
    contract = ensemble.contract
    insert = TEXTS[0][:60]
    oligo = contract.adapter5 + insert + contract.adapter3
    by_oligo = ensemble.saturate([oligo], sequence_is="oligo")[0]
    by_insert = ensemble.saturate([insert], sequence_is="insert")[0]
    head = len(contract.adapter5)
    assert np.isnan(by_oligo.effect_BL[:, :head]).all()
    inside = by_oligo.effect_BL[:, head : head + 60]
    assert np.allclose(inside, by_insert.effect_BL, atol=1e-6, equal_nan=True)


REFUSED = [
    (lambda e: e.score({"sequence": TEXTS}), "a dict is no column and no table"),
    (lambda e: e.effects({"a": TEXTS}, ALTS), "a dict is no column"),
    (lambda e: e.effects(TABLE, ALTS), r"ref is a whole table \(Table\) where a column is meant"),
    (
        lambda e: e.effects(TEXTS, pandas(TABLE)),
        r"alt is a whole table \(DataFrame\) where a column is meant",
    ),
    (lambda e: e.effects(polars(TABLE), ALTS), r"ref is a whole table \(DataFrame\)"),
    (lambda e: e.score_edits(TEXTS, duckdb(TABLE), ALTS), "offset is a whole table"),
    (lambda e: e.score(pandas(TABLE)), "no column 'sequence'.* Name it with columns={'sequence': 'NAME'}"),
    (lambda e: e.score(polars(TABLE).lazy()), "LazyFrame holds no rows yet: pass what its collect"),
    (lambda e: e.score(set(TEXTS)), "a set, which has no order"),
    (lambda e: e.score([{"sequence": t} for t in TEXTS]), r"from_pylist\(...\) makes a table of rows"),
    (lambda e: e.score(np.array([("A", 1)], dtype=[("s", "U1"), ("n", int)])), "structured array"),
    (lambda e: e.score(TEXTS, columns={"sequence": "dna"}), "columns names the columns of a table"),
    (lambda e: e.score(TABLE, columns={"sequence": "DNA"}), r"no column 'DNA' \(did you mean \"dna\"\?\)"),
    (lambda e: e.score(TABLE, columns={"sequence": "at"}), r"sequence must be text"),
    (lambda e: e.effects(TEXTS), "alt is missing: give ref and alt, or one table"),
    (lambda e: e.score_edits(TEXTS, [1.5] * 40, ["A"] * 40), "offset must be whole numbers"),
    (lambda e: e.score_edits(TEXTS, [1], ["A"]), r"different numbers of rows: \[1, 40\]"),
    (lambda e: e.score_edits(TEXTS[0], 10, ["A"]), "offset is 10: pass a list, with one value a row"),
    (lambda e: e.score(TABLE, columns="dna"), "columns is 'dna'; it says which role has which column"),
    (lambda e: e.saturate(TABLE, columns="dna"), "columns is 'dna'; it says which role has which column"),
    (
        lambda e: e.score(TABLE, columns={"dna": "sequence"}),
        "columns={'dna': 'sequence'} has role and column exchanged: columns={'sequence': 'dna'}",
    ),
    (lambda e: e.score_table(TEXTS), "a list is no table: pass a table of polars, pandas"),
    (lambda e: e.score_table("s.parquet"), r"a str is no table: .*\(legscore.score_file scores files\)"),
    (lambda e: e.score_table({"sequence": TEXTS}), "a dict is no column and no table"),
    (lambda e: e.score_table(TABLE), r"Name a column with columns={'sequence': 'NAME'}"),
    (lambda e: e.score_table(pa.table([TEXTS, TEXTS], ["sequence"] * 2)), "has the column 'sequence' twice"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_is_no_column_is_refused(ensemble: Any, call: Callable[[Any], Any], message: str) -> None:
    """Never a score of a column's name."""
    with pytest.raises(InputError, match=message):
        call(ensemble)


def test_score_table_is_score_file_without_files(toy_models: Path, tmp_path: Path) -> None:
    """Sequences, pairs and edits; members' values, statuses, carried columns and metadata."""
    rows = TABLE.append_column("status_of_mine", pa.array(["x"] * 40))
    some = pa.table({"id": ["a", "b", "c"], "sequence": [TEXTS[0], None, "XX"]})
    scored: dict[str, Any] = {"models": toy_models, "engine": "openvino", "precision": "fp32"}
    pairs = {"columns": {"ref_sequence": "dna", "alt_sequence": "changed"}}
    edits = {"columns": {"sequence": "dna", "offset": "at", "alt_base": "base"}, "kind": "edit"}
    for table, more in ((some, {}), (rows, pairs), (rows, edits), (rows, {**pairs, "keep": "id"})):
        source, out = tmp_path / "s.parquet", tmp_path / "o.parquet"
        pq.write_table(table, source)
        legscore.score_file(source, out, per_model=True, force=True, **scored, **more)
        found = legscore.score_table(table, per_model=True, **scored, **more).read_all()
        expected = pq.read_table(out)
        status = found.schema.get_field_index("status")
        assert found.schema.field(status).type == pa.dictionary(pa.int8(), pa.string())
        # before pyarrow 21 a file's dictionaries come back with int32 indices
        expected = expected.set_column(status, "status", expected["status"].cast(found["status"].type))
        assert found.schema.remove_metadata() == expected.schema.remove_metadata()
        assert found.cast(found.schema.remove_metadata()).to_pylist() == expected.to_pylist()
        assert found.schema.metadata[b"legscore"] == expected.schema.metadata[b"legscore"]


def test_a_table_of_another_genome_is_told(world: Path, tmp_path: Path) -> None:
    """What `legscore.build_variants` left in a table is heard from memory as from the file."""
    pytest.importorskip("polars")
    out = tmp_path / "v.parquet"
    legscore.build_variants(
        world / "v.vcf", out, fasta=world / "g.fa", promoters=world / "g.gtf", length=20, upstream=40
    )
    with pytest.raises(InputError, match=r"the table: its contigs are not those.* models='bundled'"):
        legscore.score_table(pq.read_table(out))
    with pytest.warns(legscore.LegscoreWarning, match="the table: its contigs are not those"):
        legscore.score_table(pq.read_table(out), models="bundled", engine="null").read_all()


def test_readers_go_into_every_library(toy_model: Path) -> None:
    """polars, pandas and DuckDB read what comes out, part by part."""
    columns = {"sequence": "dna"}
    scored: dict[str, Any] = {"models": toy_model, "engine": "null", "columns": columns, "kind": "sequence"}
    frame = pytest.importorskip("polars").DataFrame(legscore.score_table(TABLE, **scored))
    assert frame.columns == ["id", "changed", "at", "base", "score", "score_sd", "status", "n_count"]
    pytest.importorskip("pandas")
    assert len(legscore.score_table(pandas(TABLE), **scored).read_pandas()) == 40
    db = pytest.importorskip("duckdb").connect()
    reader = db.from_arrow(legscore.score_table(TABLE, **scored))
    assert reader.aggregate("count(*), max(status)").fetchall() == [(40, "ok")]


def test_a_stream_is_read_as_it_is_scored(toy_model: Path) -> None:
    """A stream without an end: rows are pulled no further than a few parts ahead, and reading may stop."""
    pulled = 0

    def endless() -> Iterator[pa.RecordBatch]:
        nonlocal pulled
        while True:
            pulled += 100
            yield pa.record_batch({"sequence": TEXTS * 2 + TEXTS[:20]})

    stream = pa.RecordBatchReader.from_batches(pa.schema({"sequence": pa.string()}), endless())
    before, said = set(threading.enumerate()), []
    reader = legscore.score_table(stream, models=toy_model, engine="null", part_rows=1000, say=said.append)
    assert "input: a stream of sequences (columns sequence), read as inserts" in said
    for _ in range(5):
        assert reader.read_next_batch().num_rows == 1000
    assert 5000 <= pulled < 30_000
    del reader
    gc.collect()
    assert not [thread for thread in threading.enumerate() if thread not in before]


def test_an_error_of_the_stream_is_told(toy_model: Path) -> None:
    def broken() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({"sequence": TEXTS})
        raise RuntimeError("the database hung up")

    def stream() -> pa.RecordBatchReader:
        return pa.RecordBatchReader.from_batches(pa.schema({"sequence": pa.string()}), broken())

    with pytest.raises(InputError, match="the table: reading stopped: the database hung up"):
        legscore.score_table(stream(), models=toy_model, engine="null")  # the head is read at once
    reader = legscore.score_table(
        stream(), models=toy_model, engine="null", sequence_is="insert", part_rows=10
    )
    with pytest.raises(InputError, match="the table: reading stopped: the database hung up"):
        reader.read_all()


def test_an_ensemble_outlives_its_readers(ensemble: Any) -> None:
    """A reader that is let go half-way leaves the engine as it was."""
    columns = {"sequence": "dna"}
    reader = ensemble.score_table(TABLE, columns=columns, kind="sequence", part_rows=3)
    reader.read_next_batch()
    del reader
    gc.collect()
    assert ensemble.score(TEXTS).shape == (40,)
    with pytest.raises(LegscoreError, match="rows with more|max_n is -1"):
        ensemble.score_table(TABLE, columns=columns, max_n=-1)


def test_results_are_tables(ensemble: Any) -> None:
    mixed = ensemble.effects([*TEXTS[:2], "X"], [ALTS[0], TEXTS[1], "A"], invalid="nan")
    table = mixed.to_arrow()
    assert table.schema.names == ["ref_score", "alt_score", "effect", "effect_sd", "status"]
    assert table["effect"].null_count == 2
    assert table["status"].to_pylist() == ["ok", "ref_equals_alt", "invalid_base"]
    assert len(mixed) == 3
    assert pa.table(mixed).equals(table)
    assert pytest.importorskip("polars").DataFrame(mixed)["effect"].null_count() == 2
