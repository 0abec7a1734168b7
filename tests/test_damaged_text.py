"""CSV, TSV and FASTA that are damaged or unusual: one line that names the line, or every row as it was written."""

from __future__ import annotations

import gzip
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import one_line, random_dna
from hypothesis import example, given, settings
from hypothesis import strategies as st

from legscore.errors import InputError
from legscore.input import packed, text
from legscore.input.quotes import QuoteScan, first_damage
from legscore.input.read import open_input

BGZF_END = packed.BGZF_END


def rows_of(path: Path, columns: list[str]) -> list[tuple[Any, ...]]:
    tables = [part.table for part in open_input([path]).parts(columns, 1000)]
    return [tuple(row[name] for name in columns) for table in tables for row in table.to_pylist()]


def refused(path: Path, *words: str) -> None:
    """Reading stops with one line that holds each of the words."""
    with pytest.raises(InputError) as caught:
        rows_of(path, ["sequence"])
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    for word in words:
        assert word in message, message


def bgzf_block(content: bytes) -> bytes:
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = packer.compress(content) + packer.flush()
    head = b"\x1f\x8b\x08\x04" + bytes(5) + b"\xff\x06\x00BC\x02\x00" + struct.pack("<H", len(body) + 25)
    return head + body + struct.pack("<II", zlib.crc32(content), len(content))


def lines(n: int, delimiter: str = ",", note: str = "-", at: int = -1) -> bytes:
    """A table of id, note, sequence; row `at` has another note."""
    rng = np.random.default_rng(0)
    rows = [["id", "note", "sequence"]]
    rows += [[f"s{i}", note if i == at else "-", random_dna(rng, 40)] for i in range(n)]
    return "".join(delimiter.join(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize(("name", "delimiter"), [("t.csv", ","), ("t.tsv", "\t"), ("t.csv.gz", ",")])
@pytest.mark.parametrize("at", [0, 3, 999])
@pytest.mark.parametrize("case", ["unclosed", "text behind", "two unclosed"])
def test_quotes_that_are_not_closed(tmp_path: Path, name: str, delimiter: str, at: int, case: str) -> None:
    note = '"5 prime" region' if case == "text behind" else '"see remark'
    content = lines(1000, delimiter, note, at)
    if case == "two unclosed":
        content = content.replace(
            b"s500" + delimiter.encode() + b"-", b"s500" + delimiter.encode() + b'"see b'
        )
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith("gz") else content)
    refused(path, "quote", f"line {min(at, 500) + 2 if case == 'two unclosed' else at + 2}")


def test_an_unclosed_quote_in_a_file_of_many_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader stops before the end, for want of room; and a quote may be the last byte of a block."""
    (tmp_path / "t.csv").write_bytes(lines(200_000, note='"see remark', at=100_000))
    refused(tmp_path / "t.csv", "line 100002 has a quote that is never closed")
    for size in (61, 62, 63, 64, 128):
        monkeypatch.setattr(text, "BLOCK_BYTES", size * 4)
        (tmp_path / "t.csv").write_text("id,note,sequence\n" + 'a,"x ""y"", z",ACGTACGTACGTACGT\n' * 100)
        assert rows_of(tmp_path / "t.csv", ["note"]) == [('x "y", z',)] * 100
        (tmp_path / "t.csv").write_text("id,note,sequence\n" + 'a,"x y",ACGTAC\n' * 99 + 'a,"x"y,ACGTACG\n')
        refused(tmp_path / "t.csv", "line 101 has text after a closing quote")


field_text = st.text(st.sampled_from("a\"',;\t \n\r\0é"), max_size=6)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(field_text, field_text), min_size=1, max_size=12), st.sampled_from(["csv", "tsv"]))
@example([("a,b\nc", 'd"'), ('"', ",\n,")], "csv")
@example([("", "\r\t\t")], "tsv")
@example([("", ",\n,,"), ("\0\n", ",\r,,")], "csv")
def test_well_formed_quoting_is_read_as_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], ending: str
) -> None:
    path = tmp_path_factory.mktemp("quoted") / f"t.{ending}"
    with open(path, "w", newline="", encoding="utf-8") as stream:
        for row in [("x", "sequence", "y"), *((x, "ACGT", y) for x, y in rows)]:
            fields = ('"' + value.replace('"', '""') + '"' for value in row)
            stream.write(text.DELIMITER[ending.upper()].join(fields) + "\r\n")
    assert rows_of(path, ["x", "sequence", "y"]) == [(x, "ACGT", y) for x, y in rows]


@settings(max_examples=400, deadline=None)
@given(st.text(st.sampled_from('a"",,\n\r'), max_size=30), st.integers(1, 9))
@example('a,"b"c\n', 3)
@example('"', 1)
@example('""', 1)
@example('a,3" x\n', 4)
def test_the_scan_passes_no_text_that_the_csv_module_refuses(content: str, block: int) -> None:
    """And what it does not pass is either broken or has quotes inside unquoted values, which are letters."""
    scan = QuoteScan(",")
    for start in range(0, len(content), block):
        scan.add(np.frombuffer(content[start : start + block].encode(), np.uint8))
    damage = first_damage(io.StringIO(content, newline=""), ",", 1000)
    if damage:
        assert not scan.is_sound
    if not scan.is_sound:
        assert damage or '"' in content


@pytest.mark.parametrize("row", ['{},",ACGT,x', '{},-,ACGT,"', '",{},ACGT,x'])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("apart", [1, 2, 300])
def test_quotes_alone_do_not_join_rows(tmp_path: Path, row: str, end: str, apart: int) -> None:
    """Two values that are a bare quote (inches, or "as above") are no value that reaches from one to the other."""
    rows = [f"s{i},-,ACGT,x" for i in range(1000)]
    rows[5], rows[5 + apart] = row.format("s5"), row.format("s")
    (tmp_path / "t.csv").write_text(end.join(["a,b,sequence,d", *rows, ""]), newline="")
    refused(tmp_path / "t.csv", f"line 7 is a quote alone, which reaches to line {7 + apart}")


def test_quotes_inside_unquoted_values_are_letters(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('id,note,sequence\na,3" end,ACGT\nb,5\'-"x",GG\n')
    assert rows_of(tmp_path / "t.csv", ["note", "sequence"]) == [('3" end', "ACGT"), ('5\'-"x"', "GG")]


def test_lines_above_the_header(tmp_path: Path) -> None:
    above = '## build: "GRCh38\n##a,b,c,d\n'
    for mark in ("", "\ufeff"):
        (tmp_path / "t.csv").write_text(mark + above + "id,sequence\na,ACGT\n", encoding="utf-8")
        assert rows_of(tmp_path / "t.csv", ["id", "sequence"]) == [("a", "ACGT")]
    (tmp_path / "t.tsv").write_text(above + "#id\tsequence\na\tACGT\n## b\tGG\n")
    assert rows_of(tmp_path / "t.tsv", ["#id", "sequence"]) == [("a", "ACGT"), ("## b", "GG")]
    (tmp_path / "t.csv").write_text(above)
    refused(tmp_path / "t.csv", "cannot be read as CSV")


@pytest.mark.parametrize("name", ["t.csv", "t.tsv", "t.fa"])
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_other_encodings_are_named(tmp_path: Path, name: str, encoding: str) -> None:
    content = {"t.csv": "id,sequence\na,ACGT\n", "t.tsv": "id\tsequence\na\tACGT\n", "t.fa": ">a\nACGT\n"}[
        name
    ]
    (tmp_path / name).write_bytes(content.encode(encoding))
    refused(tmp_path / name, "UTF-", "convert")


def test_latin1_names_its_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"id,sequence\n" + b"a,ACGT\n" * 300 + "\xe9,ACGT\n".encode("latin-1"))
    refused(tmp_path / "t.csv", "line 302 is not UTF-8")
    (tmp_path / "t.fa").write_bytes(">a\nACGT\n>\xe9\nACGT\n".encode("latin-1"))
    refused(tmp_path / "t.fa", "not UTF-8")


@pytest.mark.parametrize("name", ["t.csv.gz", "t.fa.gz", "t.csv"])
def test_packed_text(tmp_path: Path, name: str) -> None:
    """Members one after another, bgzip, and both cut at any place: in a member, between two, in their ends."""
    path = tmp_path / name
    if "fa" in name:
        pieces = [b">a\nACGT\n", b">b\nGGGG\n", b">c\nTTTT\n"]
    else:
        pieces = [b"id,sequence\na,ACGT\n", b"b,GGGG\n", b"c,TTTT\n"]
    expected = [("a", "ACGT"), ("b", "GGGG"), ("c", "TTTT")]
    members = [gzip.compress(piece, mtime=0) for piece in pieces]
    path.write_bytes(b"".join(members))
    assert rows_of(path, ["id", "sequence"]) == expected
    for cut in (1, 4, 8, 15, len(members[2]) - 2, len(members[2]) - 1):
        path.write_bytes(b"".join(members)[:-cut])
        refused(path)
    blocks = [bgzf_block(piece) for piece in pieces]
    path.write_bytes(b"".join([*blocks, BGZF_END]))
    assert rows_of(path, ["id", "sequence"]) == expected
    path.write_bytes(b"".join([blocks[0], BGZF_END, *blocks[1:], BGZF_END]))  # files of bgzip joined
    assert rows_of(path, ["id", "sequence"]) == expected
    for whole in range(1, 4):
        path.write_bytes(b"".join(blocks[:whole]))
        refused(path, "cut short")
    path.write_bytes(b"".join([*blocks, BGZF_END])[:-3])
    refused(path, "cut short")


def test_csv_with_other_bytes(tmp_path: Path) -> None:
    """Line ends of other systems, NUL bytes and a byte order mark are read for what they are."""
    path = tmp_path / "t.csv"
    for end in ("\r", "\r\n", "\n"):
        path.write_bytes(f"id,sequence{end}a,ACGT{end}b,GG{end}".encode())
        assert rows_of(path, ["id", "sequence"]) == [("a", "ACGT"), ("b", "GG")]
        path.write_bytes(f'id,sequence{end}a,"AC{end}GT"{end}b,"GG{end}'.encode())
        refused(path, "line 4 has a quote that is never closed")
    path.write_bytes(b'\xef\xbb\xbf"id",sequence\na\0,AC\0GT\n')
    assert rows_of(path, ["id", "sequence"]) == [("a\0", "AC\0GT")]


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b">a\nACGT\0ACGT\n>b\nACGT\n", ("line 2", "NUL")),
        (b">a\nACGT\n>b\0c\nACGT\n", ("line 3", "NUL")),
        (b">a\rACGT\r>b\rACGT\r", ("line 1", "carriage return")),
        (b">a\nACGT\n>b\nACGT\r", ("line 4", "carriage return")),
        (b">a\r\nAC\rGT\r\n", ("line 2", "carriage return")),
        (b">a\nACGT\n+\nIIII\n", ("line 3", "FASTQ")),
    ],
)
def test_fasta_damage_names_its_line(
    tmp_path: Path, content: bytes, words: tuple[str, ...], packing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / ("t.fa.gz" if packing else "t.fa")
    path.write_bytes(gzip.compress(content) if packing else content)
    refused(path, *words)
    for size in (1, 2, 3, 7):
        monkeypatch.setattr("legscore.input.fasta.BLOCK_BYTES", size)
        refused(path, *words)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.text(st.sampled_from("ACGTNacgt"), max_size=30), min_size=1, max_size=9),
    st.sampled_from(["\n", "\r\n"]),
    st.integers(1, 40),
    st.booleans(),
)
def test_fasta_is_read_as_written(
    tmp_path_factory: pytest.TempPathFactory, sequences: list[str], end: str, width: int, mark: bool
) -> None:
    path = tmp_path_factory.mktemp("fasta") / "t.fa"
    records = [
        end.join([f">s{i} number {i}", *(s[at : at + width] for at in range(0, len(s), width))])
        for i, s in enumerate(sequences)
    ]
    path.write_bytes(b"\xef\xbb\xbf" * mark + (end.join(records) + end).encode())
    expected = [(f"s{i}", f"number {i}", s) for i, s in enumerate(sequences)]
    assert rows_of(path, ["id", "description", "sequence"]) == expected


@pytest.mark.parametrize("size", [1, 2, 3, 1 << 20])
def test_fasta_headers_and_borders_of_blocks(
    tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names end at the first white space, the rest of the line is the description, empty ones are null; lines
    are joined without their ends and with the spaces inside; wherever a block of the file ends."""
    path = tmp_path / "t.fa"
    path.write_bytes(b"\n \n>a\nAC GT\n>b\n\n>c x  y \r\nA\r\n\r\nC\r\n> d\nG>T\n>e\t\n>>f\nN")
    monkeypatch.setattr("legscore.input.fasta.BLOCK_BYTES", size)
    assert rows_of(path, ["id", "description", "sequence"]) == [
        ("a", None, "AC GT"),
        ("b", None, ""),
        ("c", "x  y ", "AC"),
        ("", "d", "G>T"),
        ("e", None, ""),
        (">f", None, "N"),
    ]


PIECES = [
    b",",
    b"\t",
    b'"',
    b"\n",
    b"\r",
    b"\0",
    b"\xef\xbb\xbf",
    b"\xff\xfe",
    b">",
    b"##",
    b"id,sequence",
    b"ACGT",
    b"\xe9",
    b" ",
]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("above", [b"\n", b"\n\n\n", b"##note\n\n##more\n", b"\xef\xbb\xbf\n\n"])
@pytest.mark.parametrize("columns", [["sequence"], ["id", "sequence"]])
def test_blank_lines_above_the_header_are_passed_over(
    tmp_path: Path, above: bytes, end: bytes, columns: list[str]
) -> None:
    """Also of one column, where a blank line below the header is a row without a sequence."""
    path = tmp_path / "t.csv"
    rows = [",".join(columns), ",".join(["ACGT"] * len(columns)), "", ",".join(["TTTT"] * len(columns))]
    path.write_bytes(
        above.replace(b"\n", end) + "".join(f"{row}\n" for row in rows).encode().replace(b"\n", end)
    )
    found = [row[-1] for row in rows_of(path, columns)]
    assert found == (["ACGT", None, "TTTT"] if len(columns) == 1 else ["ACGT", "TTTT"])
    assert [row["sequence"] for row in text.first_rows(path, "CSV")] == ["ACGT", "TTTT"] or end == b"\r"


def test_only_blank_lines_are_no_table(tmp_path: Path) -> None:
    (tmp_path / "few.csv").write_bytes(b"\n" * 9)
    refused(tmp_path / "few.csv", "Empty CSV file")
    (tmp_path / "many.csv").write_bytes(b"\n" * (packed.HEAD_BYTES + 9) + b"sequence\nACGT\n")
    refused(tmp_path / "many.csv", "has only blank lines in its first 1,048,576 bytes")


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.one_of(st.sampled_from(PIECES), st.binary(max_size=3)), max_size=25),
    st.sampled_from(["t.csv", "t.tsv", "t.fa", "t.csv.gz", "t.fa.gz", "t.parquet", "t.arrow"]),
    st.booleans(),
    st.integers(0, 12),
)
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, pieces: list[bytes], name: str, packing: bool, cut: int
) -> None:
    content = b"".join(pieces)
    path = tmp_path_factory.mktemp("any") / name
    if packing:
        content = gzip.compress(content, mtime=0)
        content = content[: len(content) - cut]
    path.write_bytes(content)
    refusal = None
    try:
        opened = open_input([path])
        rows = sum(part.table.num_rows for part in opened.parts(opened.schema.names, 7))
    except InputError as error:
        refusal = str(error)
    if refusal is not None:
        assert len(refusal.splitlines()) == 1
        assert name in refusal
        return
    assert rows == opened.n_rows > 0
    if not packing and not name.endswith((".parquet", ".arrow")):
        # no row without bytes of its own
        assert rows <= content.count(b"\n") + content.count(b"\r") + 1


@pytest.mark.parametrize(
    ("name", "content"),
    [("t.csv", b"\r\0\n"), ("t.csv", b"id\0,sequence\n1,ACGT\n"), ("t.tsv", b"sequence\t\0\nACGT\t1\n")],
)
def test_a_nul_in_a_column_s_name(
    tmp_path: Path, toy_model: Path, cli: Any, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    ran = cli("run", tmp_path / name, "-m", toy_model, "--engine", "null", "-o", tmp_path / "o.parquet")
    one_line(ran, name, "holds a NUL byte")
