"""Tab-separated text: line ends, byte order marks, damage."""

from __future__ import annotations

import gzip
from pathlib import Path

import pysam
import pytest

from legscore.errors import InputError
from legscore.variants import lines as module
from legscore.variants.lines import read_fields, read_lines, text_of

TEXT = "# head\nchr1\t10\t90\tone\n\nchr2\t5\t85\ttwo\n"
ROWS = [(2, "chr1", "10", "90"), (4, "chr2", "5", "85")]
BOM = b"\xef\xbb\xbf"


def rows(path: Path) -> list[tuple[object, ...]]:
    return [row for frame in read_fields(path, ["chrom", "start", "end"]) for row in frame.rows()]


def with_ends(end: str, text: str = TEXT) -> bytes:
    return text.replace("\n", end).encode()


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1 << 20])
@pytest.mark.parametrize("packing", ["plain", "gzip", "bgzip"])
@pytest.mark.parametrize(
    "data",
    [
        with_ends("\n"),
        with_ends("\r\n"),
        with_ends("\r\r\n"),
        with_ends("\r"),
        BOM + with_ends("\n"),
        BOM + with_ends("\r\n"),
        BOM + with_ends("\r"),
        with_ends("\n").rstrip(b"\n"),
        with_ends("\r\n").rstrip(b"\n"),
        with_ends("\r").rstrip(b"\r"),
    ],
)
def test_lines_are_read_whatever_ends_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, packing: str, chunk_bytes: int
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", max(chunk_bytes, 4) if data.startswith(BOM) else chunk_bytes)
    path = tmp_path / "b.bed"
    path.write_bytes(gzip.compress(data) if packing == "gzip" else data)
    if packing == "bgzip":
        pysam.tabix_compress(str(path), str(tmp_path / "b.bed.gz"))
        path = tmp_path / "b.bed.gz"
    assert rows(path) == ROWS


def test_a_mark_alone_in_front_of_a_comment_or_a_row(tmp_path: Path) -> None:
    path = tmp_path / "b.bed"
    path.write_bytes(BOM + b"#c\nchr1\t1\t2\n")
    assert rows(path) == [(2, "chr1", "1", "2")]
    path.write_bytes(BOM + b"chr1\t1\t2\n")
    assert rows(path) == [(1, "chr1", "1", "2")]


@pytest.mark.parametrize("chunk_bytes", [3, 1 << 20])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"chr1\t1\t2\nch\0r2\t1\t2\n", "line 2: a NUL byte"),
        (b"chr1\t1\t2\r\n\r\nch\0r2\t1\t2\r\n", "line 3: a NUL byte"),
        (b"chr1\t1\t2\rchr2\0\t1\t2\r", "line 2: a NUL byte"),
        (b"chr1\t1\t2\nchr2\t1\r2\t3\n", "line 2: line ends of two kinds"),
        (b"chr1\t1\t2\rchr2\t1\t2\nchr3\t1\t2\r", "line 2: line ends of two kinds"),
        ("chr1\t1\t2\n".encode("utf-16-le"), "line 1: a NUL byte"),
    ],
)
def test_damaged_text_is_named_by_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: bytes, message: str, chunk_bytes: int
) -> None:
    monkeypatch.setattr(module, "CHUNK_BYTES", chunk_bytes)
    (tmp_path / "b.bed").write_bytes(data)
    with pytest.raises(InputError, match=f"b.bed, {message}; is the file damaged"):
        rows(tmp_path / "b.bed")


def test_text_that_is_cut_short_or_encoded_otherwise(tmp_path: Path) -> None:
    (tmp_path / "b.bed").write_text(TEXT * 9000)
    pysam.tabix_compress(str(tmp_path / "b.bed"), str(tmp_path / "z.gz"))
    whole = (tmp_path / "z.gz").read_bytes()
    (tmp_path / "e.gz").write_bytes(whole[:-28])
    (tmp_path / "g.gz").write_bytes(gzip.compress((TEXT * 9000).encode())[:-9])
    (tmp_path / "u.bed").write_bytes(TEXT.encode("utf-16"))
    for name, message in (
        ("e.gz", "ends without the closing block of bgzip"),
        ("g.gz", "cut short or damaged"),
        ("u.bed", "UTF-16"),
    ):
        with pytest.raises(InputError, match=message):
            rows(tmp_path / name)


def test_names_that_are_no_utf_8_stay_apart(tmp_path: Path) -> None:
    (tmp_path / "b.bed").write_bytes(b"chr\xe9\t1\t2\nchr\xe8\t1\t2\nchr\xc3\xa9x\t1\t2\n")
    assert [row[1] for row in rows(tmp_path / "b.bed")] == ["chré", "chrè", "chréx"]
    assert text_of(b"\xff\xfe") == "ÿþ"


def test_all_lines_are_numbered(tmp_path: Path) -> None:
    (tmp_path / "b.bed").write_text(TEXT)
    (frame,) = read_lines(tmp_path / "b.bed")
    assert frame["line"].to_list() == [1, 2, 4]
