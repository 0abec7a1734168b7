"""Readers: every format gives the same rows, cut into the same parts; every damage one clear error."""

from __future__ import annotations

import gzip
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from conftest import random_dna
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import csv

from legscore.errors import InputError
from legscore.input.read import open_input
from legscore.input.roles import check_types, choose_carried_columns, role_array
from legscore.rows.schema import find_roles


def table(rows: int, seed: int = 0) -> pa.Table:
    rng = np.random.default_rng(seed)
    return pa.table(
        {
            "name": [f"r{i}" for i in range(rows)],
            "sequence": [random_dna(rng, int(n)) for n in rng.integers(1, 40, rows)],
            "count": pa.array(rng.integers(0, 9, rows)),
            "level": rng.normal(size=rows),
        }
    )


def write_all(folder: Path, t: pa.Table) -> dict[str, Path]:
    paths = {}
    for extension in ("parquet", "feather", "arrows", "csv", "csv.gz", "tsv", "tsv.gz"):
        path = folder / f"t.{extension}"
        if extension == "parquet":
            pq.write_table(t, path, row_group_size=77)
        elif extension == "feather":
            feather.write_feather(t, path, chunksize=50)
        elif extension == "arrows":
            with pa.ipc.new_stream(str(path), t.schema) as writer:
                writer.write_table(t, max_chunksize=30)
        else:
            stream = gzip.open(path, "wb") if path.suffix == ".gz" else open(path, "wb")
            with stream:
                csv.write_csv(t, stream, csv.WriteOptions(delimiter="\t" if "tsv" in extension else ","))
        paths[extension] = path
    return paths


def test_every_format_reads_the_same(tmp_path: Path) -> None:
    t = table(1000)
    for extension, path in write_all(tmp_path, t).items():
        opened = open_input([path])
        assert opened.n_rows == 1000, extension
        assert opened.schema.names == t.schema.names
        parts = list(opened.parts(["count", "sequence", "level"], 300))
        assert [(p.number, p.first_row, p.table.num_rows) for p in parts] == [
            (0, 0, 300),
            (1, 300, 300),
            (2, 600, 300),
            (3, 900, 100),
        ]
        joined = pa.concat_tables([p.table for p in parts])
        assert joined.column_names == ["count", "sequence", "level"]
        for name in joined.column_names:
            # text as written
            values = joined[name].cast(t.schema.field(name).type) if "sv" in extension else joined[name]
            assert values.to_pylist() == t[name].to_pylist(), (extension, name)
        assert sum(p.table.num_rows for p in opened.parts(["name"], 128)) == 1000


def test_parts_ignore_row_groups_and_files(tmp_path: Path) -> None:
    t = table(500)
    cuts = [0, 1, 120, 121, 400, 500]
    folder = tmp_path / "many"
    folder.mkdir()
    for i, (a, b) in enumerate(itertools.pairwise(cuts)):
        pq.write_table(t.slice(a, b - a), folder / f"part-{i}.parquet", row_group_size=7 + i)
    (folder / "_metadata.parquet").write_bytes(b"junk that Spark leaves")
    for paths in ([folder], [str(folder / "part-*.parquet")], sorted(folder.glob("part-*"))):
        opened = open_input(paths)
        parts = list(opened.parts(["name"], 130))
        assert [p.table.num_rows for p in parts] == [130, 130, 130, 110]
        assert pa.concat_tables([p.table for p in parts])["name"].to_pylist() == t["name"].to_pylist()


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\r\n\x00"), max_size=12),
        min_size=1,
        max_size=20,
    )
)
def test_text_survives_csv(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    """Any text, quoted as needed; NA, nan and 007 stay what they are."""
    path = tmp_path_factory.mktemp("csv") / "t.csv"
    texts = [*texts, "NA", "007"]
    quoted = ['"' + text.replace('"', '""') + '"' for text in texts]
    path.write_text("x,sequence\n" + "".join(f"{q},ACGT\n" for q in quoted), encoding="utf-8")
    opened = open_input([path])
    assert opened.n_rows == len(texts)
    assert next(opened.parts(["x"], 100)).table["x"].to_pylist() == texts


def test_csv_columns_are_carried_as_written(tmp_path: Path) -> None:
    """A chromosome column that turns from 16 to X after a million rows, 007, 1.10, 1E2, long numbers: text,
    unchanged."""
    path = tmp_path / "t.csv"
    lines = ["chrom,id,version,well,long,sequence"]
    lines += [
        f"{1 + i % 16},{i:03d},1.{i % 30:02d},1E{i % 4},1234567890123456789{i},ACGT" for i in range(150_000)
    ]
    lines.append("X,7,,,,")
    path.write_text("\n".join(lines) + "\n")
    opened = open_input([path])
    names = lines[0].split(",")
    assert opened.schema == pa.schema([(name, pa.string()) for name in names])
    got = pa.concat_tables([p.table for p in opened.parts(names, 40_000)])
    for row in (0, 7, 77_777, 149_999):
        assert list(got.slice(row, 1).to_pylist()[0].values()) == lines[row + 1].split(",")
    assert got.slice(150_000, 1).to_pylist() == [dict.fromkeys(names) | {"chrom": "X", "id": "7"}]


def test_csv_rows_are_never_lost(tmp_path: Path) -> None:
    """A blank line is a null in a one-column file (as pyarrow writes one) and nothing in others; quoted
    newlines stay."""
    (tmp_path / "one.csv").write_text("sequence\nACGT\n\nGG\n")
    opened = open_input([tmp_path / "one.csv"])
    assert next(opened.parts(["sequence"], 9)).table["sequence"].to_pylist() == ["ACGT", None, "GG"]
    (tmp_path / "two.csv").write_text("id,sequence\na,ACGT\n\nb,GG\n")
    assert open_input([tmp_path / "two.csv"]).n_rows == 2
    long = "x\ny" * 800_000
    (tmp_path / "long.csv").write_text(f'note,sequence\n"{long}",ACGT\n"{long}",GG\n')
    opened = open_input([tmp_path / "long.csv"])
    assert next(opened.parts(["note"], 9)).table["note"].to_pylist() == [long, long]
    (tmp_path / "crlf.csv").write_bytes(b"\xef\xbb\xbfid,sequence\r\na,ACGT\r\nb,GG")
    opened = open_input([tmp_path / "crlf.csv"])
    assert opened.schema.names == ["id", "sequence"]
    assert next(opened.parts(["sequence"], 9)).table["sequence"].to_pylist() == ["ACGT", "GG"]


def test_csv_offsets_are_checked_on_all_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("sequence,offset,alt_base\n" + "ACGT,1,A\n" * 300_000 + "ACGT,one,A\n")
    opened = open_input([path])
    with pytest.raises(
        InputError, match="column 'offset' reads 'one' in row 300001; offsets are whole numbers"
    ):
        check_types(opened, find_roles(opened.schema.names, "t"))
    path.write_text("sequence,offset,alt_base\nACGT,1,A\nACGT,,A\n")
    opened = open_input([path])
    roles = find_roles(opened.schema.names, "t")
    check_types(opened, roles)
    assert role_array(next(opened.parts(["offset"], 9)), "offset", "offset").to_pylist() == [1, None]


@pytest.mark.parametrize("packed", [False, True])
def test_fasta(tmp_path: Path, packed: bool) -> None:
    path = tmp_path / ("p.fa.gz" if packed else "p.fa")
    text = ">a first one\nACGT\nAC\n>b\n\n>c\tx y\nnnn\n>d\n" + "ACGT" * 300_000 + "\n"
    with gzip.open(path, "wt") if packed else open(path, "w") as stream:
        stream.write(text)
    opened = open_input([path])
    assert opened.n_rows == 4
    rows = pa.concat_tables([p.table for p in opened.parts(["id", "description", "sequence"], 3)]).to_pylist()
    assert [row["id"] for row in rows] == ["a", "b", "c", "d"]
    assert [row["description"] for row in rows] == ["first one", None, "x y", None]
    assert [row["sequence"] for row in rows][:3] == ["ACGTAC", "", "nnn"]
    assert len(rows[3]["sequence"]) == 1_200_000


def damaged(tmp_path: Path) -> list[tuple[str, Path, str]]:
    good = write_all(tmp_path, table(20_000))
    cases = []

    def add(name: str, file: str, content: bytes, message: str) -> None:
        (tmp_path / file).write_bytes(content)
        cases.append((name, tmp_path / file, message))

    add("empty file", "empty.parquet", b"", r"empty.parquet is empty \(0 bytes\)")
    add(
        "cut Parquet",
        "cut.parquet",
        good["parquet"].read_bytes()[:-100],
        "cut.parquet cannot be read as Parquet",
    )
    add("text named Parquet", "text.parquet", b"sequence\nACGT\n", "text.parquet cannot be read as Parquet")
    add(
        "cut Arrow", "cut.feather", good["feather"].read_bytes()[:-300], "cut.feather cannot be read as Arrow"
    )
    add("cut stream", "cut.arrows", good["arrows"].read_bytes()[:-500], "cut.arrows cannot be read as Arrow")
    add("cut gzip", "cut.csv.gz", good["csv.gz"].read_bytes()[:-2000], "cut.csv.gz cannot be read as CSV")
    add("no gzip", "plain.csv.gz", b"sequence\nACGT\n", "plain.csv.gz cannot be read as CSV")
    add(
        "ragged CSV",
        "ragged.csv",
        b"a,sequence\n1,ACGT\n2\n",
        r"ragged.csv cannot be read as CSV: .*Expected 2 columns, got 1",
    )
    add("twice", "twice.csv", b"sequence,sequence\nA,C\n", "twice.csv has the column 'sequence' twice")
    add("no rows", "none.csv", b"sequence\n", "none.csv has no rows")
    add("no FASTA", "no.fa", b"ACGT\n", "no.fa is no FASTA file")
    packed = gzip.compress(
        b">a\n" + np.random.default_rng(0).choice(list(b"ACGT"), 100_000).astype(np.uint8).tobytes()
    )
    broken = bytearray(packed)
    broken[len(broken) // 2 : len(broken) // 2 + 50] = bytes(50)
    add("broken FASTA", "broken.fa.gz", bytes(broken), "broken.fa.gz cannot be read as FASTA")
    add(
        "FASTQ by mistake",
        "q.fa",
        b">a\nACGT\n+\nIIII\n",
        "q.fa has a line that begins with .*FASTQ is not read",
    )
    add("no record", "gt.fa", b">", "gt.fa: 1 rows were there, 0 were read")
    add("cut FASTA", "cut.fa.gz", packed[:-1000], "cut.fa.gz cannot be read as FASTA")
    add("unknown", "x.xlsx", b"PK..", r"x.xlsx: unknown format; known extensions are .parquet")
    pq.write_table(table(0), tmp_path / "zero.parquet")
    cases.append(("zero rows", tmp_path / "zero.parquet", "zero.parquet has no rows"))
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.csv").touch()
    cases.append(
        (
            "no Parquet inside",
            tmp_path / "folder",
            r"folder: no Parquet file in this directory; it has .*a.csv",
        )
    )
    cases.append(("missing", tmp_path / "missing.parquet", "missing.parquet: no such file"))
    cases.append(("no match", tmp_path / "missing*.parquet", "no file matches this pattern"))
    return cases


def test_damage_is_one_clear_error(tmp_path: Path) -> None:
    for name, path, message in damaged(tmp_path):
        with pytest.raises(InputError, match=message) as caught:
            list(open_input([path]).parts(["sequence"], 100))
        assert "\n" not in str(caught.value), name


def test_damage_behind_the_footer_shows_while_reading(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(table(50_000), path, compression="zstd", row_group_size=10_000)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 5000] = bytes(5000)
    path.write_bytes(content)
    opened = open_input([path])
    with pytest.raises(InputError, match=r"t.parquet: reading stopped: .*damaged or cut short"):
        list(opened.parts(opened.schema.names, 1000))


def test_files_of_one_input_must_agree(tmp_path: Path) -> None:
    pq.write_table(table(3), tmp_path / "a.parquet")
    pq.write_table(table(3).drop_columns(["level"]), tmp_path / "b.parquet")
    pq.write_table(table(3).set_column(2, "count", pa.array(["x"] * 3)), tmp_path / "c.parquet")
    (tmp_path / "d.csv").write_text("sequence\nA\n")
    pq.write_table(table(3).append_column("ref_base", pa.array(["A"] * 3)), tmp_path / "e.parquet")
    (tmp_path / "k1.csv").write_text("chrom,sequence\n1,A\n")
    (tmp_path / "k2.csv").write_text("chrom,sequence\nX,A\n")
    assert open_input([tmp_path / "k1.csv", tmp_path / "k2.csv"]).n_rows == 2
    for other, message in (
        ("b.parquet", "b.parquet has no column 'level'"),
        ("e.parquet", "a.parquet has no column 'ref_base', which .*e.parquet has"),
        ("c.parquet", "'count' is string, in .*a.parquet it is int64"),
        ("d.csv", "is CSV, .*a.parquet is Parquet"),
    ):
        with pytest.raises(InputError, match=message):
            open_input([tmp_path / "a.parquet", tmp_path / other])


@pytest.mark.parametrize(
    ("names", "kind", "given_", "expected"),
    [
        (["id", "sequence"], None, {}, ("sequence", {"sequence": "sequence"})),
        (["seq"], None, {}, ("sequence", {"sequence": "seq"})),
        (
            ["ref_seq", "alt_seq", "offset"],
            None,
            {},
            ("pair", {"ref_sequence": "ref_seq", "alt_sequence": "alt_seq"}),
        ),
        (
            ["sequence", "offset", "alt_base"],
            None,
            {},
            ("edit", {"sequence": "sequence", "offset": "offset", "alt_base": "alt_base"}),
        ),
        (
            ["sequence", "offset", "alt_base", "ref_base"],
            "sequence",
            {},
            ("sequence", {"sequence": "sequence"}),
        ),
        (["dna"], None, {"sequence": "dna"}, ("sequence", {"sequence": "dna"})),
        (["sequence", "seq"], None, {"sequence": "seq"}, ("sequence", {"sequence": "seq"})),
        (
            ["ref_sequence", "alt_sequence", "sequence"],
            "pair",
            {},
            ("pair", {"ref_sequence": "ref_sequence", "alt_sequence": "alt_sequence"}),
        ),
    ],
)
def test_roles(
    names: list[str], kind: str | None, given_: dict[str, str], expected: tuple[str, dict[str, str]]
) -> None:
    roles = find_roles(names, "x", kind, given_)
    assert (roles.kind.name, dict(roles.column_of)) == expected


@pytest.mark.parametrize(
    ("names", "kind", "given_", "message"),
    [
        (
            ["id", "Sequence"],
            None,
            {},
            r"no columns to score \(did you mean \"Sequence\"\?\)|no columns to score",
        ),
        (["chrom", "pos", "ref", "alt"], None, {}, "genome columns alone"),
        (["ACGTACGTAC", "13.2"], None, {}, "seems to have no header line"),
        (["id;sequence"], None, {}, "its columns seem to be separated otherwise"),
        (
            ["ref_sequence", "alt_sequence", "sequence"],
            None,
            {},
            "fits two kinds of rows, pair .* and sequence .*--kind",
        ),
        (
            ["sequence", "seq"],
            None,
            {},
            "has both 'sequence' and 'seq'; choose with --column sequence=sequence",
        ),
        (["sequence"], "pair", {}, r"no column 'ref_sequence' and no column 'alt_sequence' for --kind pair"),
        (["sequence"], None, {"sequence": "dna"}, "has no column 'dna'"),
        (["sequence"], None, {"sequenc": "sequence"}, r"no such role \(did you mean \"sequence\"\?\)"),
    ],
)
def test_roles_refused(names: list[str], kind: str | None, given_: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_roles(names, "x.parquet", kind, given_)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"sequence": pa.array([1, 2])}, "column 'sequence' is int64; sequence must be text"),
        (
            {"sequence": pa.array(["A"]), "offset": pa.array([0.5]), "alt_base": pa.array(["C"])},
            "column 'offset' is double; offsets must be whole",
        ),
        (
            {"sequence": pa.array(["A"]), "offset": pa.array([0]), "alt_base": pa.array([1])},
            "column 'alt_base' is int64",
        ),
        ({"sequence": pa.array([["A"]])}, "must be text"),
    ],
)
def test_types(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    opened = open_input([tmp_path / "t.parquet"])
    with pytest.raises(InputError, match=message):
        check_types(opened, find_roles(opened.schema.names, "t"))


def test_role_arrays_come_in_one_type(tmp_path: Path) -> None:
    variants = [
        pa.array(["AC", None]),
        pa.array(["AC", None]).dictionary_encode(),
        pa.array([b"AC", None]),
        pa.array(["AC", None], pa.large_string()),
    ]
    for i, array in enumerate(variants):
        path = tmp_path / f"{i}.parquet"
        pq.write_table(
            pa.table({"sequence": array, "offset": pa.array([1, None], pa.int8()), "alt_base": array}), path
        )
        part = next(open_input([path]).parts(["sequence", "offset", "alt_base"], 10))
        sequence = role_array(part, "sequence", "sequence")
        assert sequence.to_pylist() == ["AC", None]
        assert role_array(part, "alt_base", "alt_base").type == pa.large_string()
        assert role_array(part, "offset", "offset").type == pa.int64()


def test_row_trouble_in_odd_types_is_no_error(tmp_path: Path) -> None:
    """Bytes that are no text, offsets beyond int64, nulls after a file that promised none."""
    odd = pa.table(
        {
            "sequence": pa.array([b"AC", b"\xff\xfe"]),
            "offset": pa.array([1, 2**63], pa.uint64()),
            "alt_base": ["A", "C"],
        }
    )
    pq.write_table(odd, tmp_path / "odd.parquet")
    part = next(open_input([tmp_path / "odd.parquet"]).parts(odd.column_names, 9))
    from legscore.dna.codes import text_to_codes

    assert text_to_codes(role_array(part, "sequence", "sequence")).flat.tolist() == [0, 2, 255, 255]
    assert role_array(part, "offset", "offset").to_pylist() == [1, -(2**63)]
    strict = pa.schema([pa.field("sequence", pa.string(), nullable=False)])
    pq.write_table(pa.table([["A"]], schema=strict), tmp_path / "a.parquet")
    pq.write_table(pa.table({"sequence": [None, "C"]}), tmp_path / "b.parquet")
    opened = open_input([tmp_path / "a.parquet", tmp_path / "b.parquet"])
    assert next(opened.parts(["sequence"], 9)).table["sequence"].to_pylist() == ["A", None, "C"]


def test_kept_columns(tmp_path: Path) -> None:
    pq.write_table(table(3).append_column("status", pa.array(["x"] * 3)), tmp_path / "t.parquet")
    opened = open_input([tmp_path / "t.parquet"])
    roles = find_roles(opened.schema.names, "t")
    with pytest.raises(InputError, match="already has the column 'status'.*--keep name,count,level"):
        choose_carried_columns(opened, roles, "auto")
    assert choose_carried_columns(opened, roles, "level, name") == ["level", "name"]
    assert choose_carried_columns(opened, roles, "none") == []
    with pytest.raises(InputError, match=r"no column 'levle' \(did you mean \"level\"\?\)"):
        choose_carried_columns(opened, roles, "levle")
    pq.write_table(table(3).select(["sequence"]), tmp_path / "s.parquet")
    only = open_input([tmp_path / "s.parquet"])
    assert choose_carried_columns(only, find_roles(["sequence"], "s"), "auto") == ["sequence"]
