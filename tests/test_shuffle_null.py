"""Shuffled nulls: what a shuffle keeps, p and q against loops."""

from __future__ import annotations

import itertools
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from conftest import one_line, random_dna, yeast_contract
from hypothesis import given
from hypothesis import strategies as st

from legscore.errors import InputError
from legscore.system.checksum import Seen
from legscore.variants.shuffle_null import benjamini_hochberg, shuffled, single_changes, write_null

TILES = ("--length", 20, "--upstream", 40, "--step", 10)
SCORE = ("--engine", "openvino", "--precision", "fp32")


@given(st.text("ACGTN", min_size=1, max_size=60))
def test_shuffles_keep_dinucleotides_and_ends(text: str) -> None:
    for made in shuffled(text, 3):
        assert Counter(itertools.pairwise(made)) == Counter(itertools.pairwise(text))
        assert made[0] == text[0]
        assert made[-1] == text[-1]
    assert shuffled(text, 3) == shuffled(text, 3)


def test_shuffles_differ() -> None:
    text = "ACGTTGCAAGCTTACGGATCCATGCATTAGC"
    assert len(set(shuffled(text, 50))) > 40
    # every walk is about equally likely: TGTCTAT has 3! walks
    counts = Counter(shuffled("TGTCTAT", 3000))
    assert len(counts) == 6
    assert max(counts.values()) < 1.3 * min(counts.values())


@given(st.lists(st.floats(0, 1), min_size=1, max_size=40))
def test_q_values(values: list[float]) -> None:
    p = np.array([*values, np.nan])
    q = benjamini_hochberg(p)
    assert np.isnan(q[-1])
    assert q[:-1] == pytest.approx(corrected(values))


def corrected(values: list[float]) -> list[float]:
    """Benjamini and Hochberg (1995), p value by p value."""
    scaled = {p: min(1.0, p * len(values) / sum(other <= p for other in values)) for p in values}
    return [min(q for other, q in scaled.items() if other >= p) for p in values]


def test_the_twin_agrees_with_scipy() -> None:
    stats = pytest.importorskip("scipy.stats", reason="the twin is held against scipy's")
    values = np.random.default_rng(1).uniform(0, 0.2, 100).round(2).tolist()
    assert corrected(values) == pytest.approx(stats.false_discovery_control(values))


def test_p_of_each_row_equals_a_loop(world: Path, toy_models: Path, cli: Any) -> None:
    """Pairs from a VCF and edits from saturation: p counted by hand from the effects of the shuffled
    changes."""
    n = 7
    given = ("--fasta", world / "g.fa", "--promoters", world / "g.gtf", *TILES)
    ran = cli(
        "run",
        world / "v.vcf",
        *given,
        "-m",
        toy_models,
        *SCORE,
        "--shuffle-null",
        n,
        "-o",
        world / "o.parquet",
        "--keep",
        "all",
    )
    assert ran.code == 0, ran.err
    rows = pq.read_table(world / "o.parquet").to_pylist()
    plain = cli(
        "run",
        world / "v.vcf",
        *given,
        "-m",
        toy_models,
        *SCORE,
        "-o",
        world / "plain.parquet",
        "--keep",
        "all",
    )
    assert plain.code == 0, plain.err
    before = pq.read_table(world / "plain.parquet")
    assert pq.read_table(world / "o.parquet").select(before.column_names).equals(before)
    expected = {}
    for i, row in enumerate(rows):
        ref, alt = row["ref_sequence"], row["alt_sequence"]
        if row["status"] != "ok" or len(row["alt"]) != 1:
            assert row["p"] is None
            continue
        (place,) = [k for k in range(len(ref)) if ref[k] != alt[k]]
        texts = shuffled(ref, n)
        table = pl.DataFrame({
            "ref_sequence": [t[:place] + ref[place] + t[place + 1 :] for t in texts],
            "alt_sequence": [t[:place] + alt[place] + t[place + 1 :] for t in texts],
        })  # fmt: skip
        table.write_csv(world / "n.csv")
        assert (
            cli("run", world / "n.csv", "-m", toy_models, *SCORE, "-o", world / "n.parquet", "--force").code
            == 0
        )
        null = pl.read_parquet(world / "n.parquet")["effect"].to_list()
        expected[i] = (1 + sum(abs(e) >= abs(row["effect"]) for e in null)) / (n + 1)
    assert len(expected) == 6
    assert {i: rows[i]["p"] for i in expected} == pytest.approx(expected)
    assert [rows[i]["q"] for i in expected] == pytest.approx(corrected(list(expected.values())))
    assert (
        json.loads(pq.read_schema(world / "o.parquet").metadata[b"legscore"])["options"]["shuffle_null"] == n
    )

    assert cli("variants", "--saturate", *given, "-o", world / "s.parquet").code == 0
    ran = cli(
        "run",
        world / "s.parquet",
        "-m",
        toy_models,
        "--engine",
        "null",
        "--shuffle-null",
        3,
        "-o",
        world / "s.tsv",
    )
    assert ran.code == 0, ran.err
    table = pl.read_csv(world / "s.tsv", separator="\t")
    # zeros are never smaller than zero
    assert table.filter(pl.col("status") == "ok")["p"].to_list() == [1.0] * 360
    assert table.filter(pl.col("status") != "ok")["p"].null_count() == 3
    assert not list(world.glob(".*"))


def edits(rows: int, adapters: tuple[str, str] = ("", "")) -> dict[str, list[Any]]:
    """Single-base changes at all places of random inserts."""
    rng = np.random.default_rng(5)
    texts = [random_dna(rng, 60) for _ in range(rows)]
    offsets = [7 * i % 60 for i in range(rows)]
    alts = ["CGTA"["ACGT".index(text[at])] for text, at in zip(texts, offsets, strict=True)]
    whole = [adapters[0] + text + adapters[1] for text in texts]
    return {"sequence": whole, "offset": [at + len(adapters[0]) for at in offsets], "alt_base": alts}


def test_the_null_reads_what_the_run_reads(tmp_path: Path, toy_models: Path, cli: Any) -> None:
    """Other columns, another kind and another format give the same p: the null is of the scored sequences."""
    table = pa.table(edits(25))
    pq.write_table(table, tmp_path / "plain.parquet")
    pa.csv.write_csv(table, tmp_path / "plain.csv")
    decoy = pa.array(["GC" * 30] * 25)
    renamed = table.rename_columns(["dna", "at", "to"]).append_column("sequence", decoy)
    pq.write_table(renamed, tmp_path / "named.parquet")
    pairs = {"ref_sequence": [decoy[0]] * 25, "alt_sequence": [decoy[0]] * 25}
    both = table.append_column("ref_sequence", pa.array(pairs["ref_sequence"]))
    pq.write_table(both.append_column("alt_sequence", decoy), tmp_path / "both.parquet")
    found = []
    for name, more in (
        ("plain.parquet", ()),
        ("plain.csv", ()),
        ("named.parquet", ("--column", "sequence=dna", "--column", "offset=at", "--column", "alt_base=to")),
        ("both.parquet", ("--kind", "edit")),
    ):
        ran = cli(
            *("run", tmp_path / name, "-m", toy_models, *SCORE, *more),
            *("--shuffle-null", 9, "-o", tmp_path / f"{name}.o.parquet"),
        )
        assert ran.code == 0, (name, ran.err)
        found.append(pq.read_table(tmp_path / f"{name}.o.parquet").select(["effect", "p", "q"]))
    assert found[0]["p"].null_count == 0
    assert len(set(found[0]["p"].to_pylist())) > 3
    assert all(table.equals(found[0]) for table in found[1:])


def test_adapters_of_oligos_are_not_shuffled(tmp_path: Path, toy_models: Path, cli: Any) -> None:
    contract = yeast_contract()
    pq.write_table(pa.table(edits(12)), tmp_path / "insert.parquet")
    oligos = edits(12, (contract.adapter5, contract.adapter3))
    pq.write_table(pa.table(oligos), tmp_path / "oligo.parquet")
    found = []
    for name in ("insert", "oligo"):
        out = tmp_path / f"{name}.o.parquet"
        given = ("-m", toy_models, *SCORE, "--shuffle-null", 9, "-o", out)
        ran = cli("run", tmp_path / f"{name}.parquet", "--sequence-is", name, *given)
        assert ran.code == 0, ran.err
        found.append(pq.read_table(out)["p"].to_pylist())
    assert found[0] == found[1]
    assert None not in found[0]


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (("--until-se", 0.1), "--shuffle-null does not go with --until-se"),
        (("--out-of-fold", "mmh3"), "--shuffle-null does not go with --out-of-fold"),
        (("--sequence-is", "window"), "which a window does not say"),
        (("--kind", "sequence"), "needs rows that change a base"),
        (("--shard", "1/2"), "--shard goes with tables, not with --shuffle-null"),
    ],
)
def test_what_a_null_cannot_follow_is_refused_before_scoring(
    tmp_path: Path, toy_models: Path, cli: Any, more: tuple[Any, ...], message: str
) -> None:
    pq.write_table(pa.table(edits(4)), tmp_path / "e.parquet")
    out = tmp_path / "o.parquet"
    given = ("-m", toy_models, "--engine", "null", "--shuffle-null", 2, "-o", out)
    one_line(cli("run", tmp_path / "e.parquet", *given, *more), message)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.parquet"]


def test_refusals(world: Path, toy_model: Path, cli: Any) -> None:
    (world / "p.csv").write_text("sequence\nACGT\n")
    (world / "q.csv").write_text("ref_sequence,alt_sequence,p\nACGTAC,ACGTAG,1\n")
    for name, output, message in (
        ("p.csv", "o.parquet", "needs rows that change a base"),
        ("q.csv", "o.parquet", "already has the column 'p'"),
        ("q.csv", "o.bw", "does not go with"),
    ):
        ran = cli(
            "run",
            world / name,
            "-m",
            toy_model,
            "--engine",
            "null",
            "--shuffle-null",
            2,
            "-o",
            world / output,
        )
        assert (ran.code, message in ran.err.splitlines()[-1]) == (2, True), ran.err
        assert not (world / output).exists()


def test_the_null_is_of_the_table_that_was_scored(tmp_path: Path) -> None:
    """A table that is written again after scoring is refused, though it has as many rows."""
    table = pl.DataFrame({"ref_sequence": ["ACGTACGT"] * 3, "alt_sequence": ["ACGTACGA"] * 3})
    table.write_parquet(tmp_path / "t.parquet")
    roles = {"ref_sequence": "ref_sequence", "alt_sequence": "alt_sequence"}
    read = [Seen.of(tmp_path / "t.parquet")]
    source, target = str(tmp_path / "t.parquet"), tmp_path / "n.parquet"
    assert write_null(source, target, 4, roles, read=read) == 3
    assert pq.read_table(target).num_rows == 12
    os.utime(tmp_path / "t.parquet", (1.7e9, 1.7e9))
    with pytest.raises(InputError, match="t.parquet changed while it was in use"):
        write_null(source, target, 4, roles, read=read)
    table.with_columns(ref_sequence=pl.lit("AAAAACGT")).write_parquet(tmp_path / "other.parquet")
    os.replace(tmp_path / "other.parquet", tmp_path / "t.parquet")
    with pytest.raises(InputError, match="t.parquet changed while it was in use"):
        write_null(source, target, 4, roles, read=read)


@pytest.mark.parametrize("name", ["t.csv", "t.tsv"])
def test_a_table_written_over_in_place_with_its_old_time(tmp_path: Path, name: str) -> None:
    """Size, time and file are the same; the bases are not."""
    path, roles = tmp_path / name, {"ref_sequence": "ref_sequence", "alt_sequence": "alt_sequence"}
    comma = "," if name == "t.csv" else "\t"
    path.write_text(f"ref_sequence{comma}alt_sequence\nACGTACGT{comma}ACGTACGA\n")
    read, found = [Seen.of(path)], os.stat(path)
    assert write_null(str(path), tmp_path / "n.parquet", 2, roles, read=read) == 1
    with open(path, "r+") as stream:
        stream.write(path.read_text().replace("ACGTACG", "TCGTACG"))
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    with pytest.raises(InputError, match=f"{name} changed while it was in use"):
        write_null(str(path), tmp_path / "n.parquet", 2, roles, read=read)


@pytest.mark.parametrize("form", ["folder", "pattern"])
def test_a_null_of_several_files(tmp_path: Path, toy_model: Path, cli: Any, form: str) -> None:
    (tmp_path / "in").mkdir()
    table = pl.DataFrame({"ref_sequence": ["ACGTACGT"] * 3, "alt_sequence": ["ACGTACGA"] * 3})
    for name in ("a", "b"):
        table.write_parquet(tmp_path / "in" / f"{name}.parquet")
    source = f"{tmp_path}/in/" if form == "folder" else f"{tmp_path}/in/*.parquet"
    given = ("run", source, "-m", toy_model, "--engine", "null", "--shuffle-null", 2)
    ran = cli(*given, "-o", tmp_path / "o.parquet")
    assert ran.code == 0, ran.err
    found = pq.read_table(tmp_path / "o.parquet")
    assert found.num_rows == 6
    assert "p" in found.column_names
    # a null is read anew from files that may not change, as an output among them would
    inside = tmp_path / "in" / "o.parquet"
    assert cli(*given, "--keep", "all", "-o", inside).code == 0
    ran = cli(*given, "--keep", "all", "--part-rows", 2, "--force", "-o", inside)
    one_line(ran, "o.parquet lies in the input of this run", "-o")
    assert pq.read_table(inside).num_rows == 6


def test_rows_without_a_null(tmp_path: Path, toy_model: Path, cli: Any) -> None:
    """Bytes that are no text, nothing, deletions and insertions have none; where no row has one, p and q are
    there and empty."""
    bad = pa.Array.from_buffers(pa.string(), 1, pa.array([b"ACG\xe4ACGT"]).buffers())
    texts = pa.concat_arrays([pa.array(["ACGTACGT", None, "acgtacgt"]), bad])
    edits = {"sequence": texts, "offset": pa.array([1, 1, 7, 3]), "alt_base": pa.array(["T", "T", "a", "T"])}
    found = [(change.row, change.offset, change.ref, change.alt) for change in single_changes(edits)]
    assert found == [(0, 1, "C", "T"), (2, 7, "T", "A")]
    edits |= {"alt_base": pa.array(["-", "+A", "", None])}
    assert list(single_changes(edits)) == []
    pl.DataFrame({"ref_sequence": ["ACGT" * 20], "alt_sequence": ["ACGA" * 20]}).write_csv(tmp_path / "t.csv")
    given = ("-m", toy_model, "--engine", "null", "--shuffle-null", 2, "-o", tmp_path / "o.csv")
    ran = cli("run", tmp_path / "t.csv", *given)
    assert ran.code == 0, ran.err
    rows = pl.read_csv(tmp_path / "o.csv").to_dicts()
    assert [(row["status"], row["p"], row["q"]) for row in rows] == [("ok", None, None)]
