"""Genomes: an index that is another file's is refused, and damaged text is read right or named by its line."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pysam
import pytest

from legscore.errors import InputError
from legscore.input.packed import BGZF_END
from legscore.variants import genome as module
from legscore.variants.genome import Genome

DRAW = random.Random(5)
ONE, TWO, THREE = ("".join(DRAW.choice("ACGT") for _ in range(n)) for n in (1210, 1200, 1200))


def fasta(records: dict[str, str], width: int = 60, end: str = "\n") -> str:
    lines = [
        [f">{name}", *(bases[i : i + width] for i in range(0, len(bases), width))]
        for name, bases in records.items()
    ]
    return "".join(line + end for record in lines for line in record)


def write(path: Path, text: str, *, packed: bool = False, index: bool = True) -> Path:
    """A FASTA, plain or bgzipped; with `index` as samtools indexes it, else with whatever index is there."""
    if packed:
        path.with_suffix(".plain").write_text(text)
        path = path.with_name(f"{path.name}.gz")
        pysam.tabix_compress(str(path).removesuffix(".fa.gz") + ".plain", str(path), force=True)
    else:
        path.write_bytes(text.encode())
    if index:
        pysam.faidx(str(path))
        os.utime(f"{path}.fai", (1.6e9, 1.6e9))
    return path


def letters(genome: Genome) -> dict[str, str]:
    return {name: genome.contig(name).tobytes().decode() for name in genome.names}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    "text",
    [
        fasta({"a": ONE, "b": TWO}),
        fasta({"a": ONE, "b": TWO}, end="\r\n"),
        fasta({"a": ONE, "b": TWO}, width=10_000),
        fasta({"a words behind": ONE, "b\tand a tab": TWO}),
        "\n\n" + fasta({"a": ONE}) + "\n\n>empty\n" + fasta({"b": TWO}) + "\n\n",
        fasta({"a": ONE, "b": TWO}).rstrip("\n"),
        fasta({"a": ONE, "b": TWO.lower()}),
    ],
)
def test_what_samtools_indexes_is_read(tmp_path: Path, text: str, packed: bool) -> None:
    path = write(tmp_path / "g.fa", text, packed=packed)
    assert letters(Genome(path)) == {"a": ONE, "b": TWO}
    os.remove(f"{path}.fai")
    Path(f"{path}.gzi").unlink(missing_ok=True)
    assert letters(Genome(path)) == {"a": ONE, "b": TWO}  # the index is made
    assert Path(f"{path}.fai").exists()
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("width", [7, 64, 1300])
def test_pieces_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr(module, "PIECE_BASES", 100)
    for packed in (False, True):
        path = write(tmp_path / "g.fa", fasta({"a": ONE, "b": TWO}, width), packed=packed)
        assert letters(Genome(path)) == {"a": ONE, "b": TWO}


STALE: dict[str, tuple[dict[str, str], dict[str, str], str]] = {
    "contig added at the end": ({"a": ONE}, {"a": ONE, "b": TWO}, "after a the file begins b"),
    "contig added in front": ({"b": TWO}, {"a": ONE, "b": TWO}, "at its beginning the file begins a"),
    "contig added in between": (
        {"a": ONE, "c": THREE},
        {"a": ONE, "b": TWO, "c": THREE},
        "after a the file begins b, the index begins c",
    ),
    "contigs swapped": (
        {"b": TWO, "c": THREE},
        {"c": THREE, "b": TWO},
        "the file begins c, the index begins b",
    ),
    "contig renamed": ({"a": ONE, "b": TWO}, {"a": ONE, "c": TWO}, "after a the file begins c"),
    "contig removed": ({"a": ONE, "b": TWO}, {"a": ONE}, "has another length|would end after"),
    "contig longer": ({"a": ONE, "b": TWO}, {"a": ONE + "ACGT", "b": TWO}, "contig a has another length"),
    "contig shorter": ({"a": ONE, "b": TWO}, {"a": ONE[:-4], "b": TWO}, "contig a has another length"),
    "last contig longer": ({"a": ONE, "b": TWO}, {"a": ONE, "b": TWO + "A"}, "contig b has another length"),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("kind", STALE)
def test_an_index_of_another_version_is_refused(tmp_path: Path, kind: str, packed: bool) -> None:
    old, new, message = STALE[kind]
    path = write(tmp_path / "g.fa", fasta(old), packed=packed)
    write(tmp_path / "g.fa", fasta(new), packed=packed, index=False)
    with pytest.raises(
        InputError, match=f"{path.name}.fai belongs to another version of it .*({message})"
    ) as error:
        Genome(path)
    assert str(error.value).endswith(f"samtools faidx {path}")
    pysam.faidx(str(path))
    assert letters(Genome(path)) == new


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ((60, "\n"), (50, "\n")),
        ((50, "\n"), (60, "\n")),
        ((60, "\n"), (60, "\r\n")),
        ((60, "\r\n"), (60, "\n")),
        ((59, "\r\n"), (60, "\n")),  # lines of equally many bytes
    ],
)
def test_lines_of_another_length_are_refused(
    tmp_path: Path, old: tuple[int, str], new: tuple[int, str], packed: bool
) -> None:
    for records in ({"a": ONE}, {"a": ONE, "b": TWO}):
        path = write(tmp_path / "g.fa", fasta(records, *old), packed=packed)
        write(tmp_path / "g.fa", fasta(records, *new), packed=packed, index=False)
        with pytest.raises(InputError, match="belongs to another version"):
            Genome(path)


def test_a_line_that_breaks_elsewhere_is_refused(tmp_path: Path) -> None:
    """As many bytes and the same first line: only reading the contig shows it."""
    text = fasta({"a": ONE, "b": TWO})
    path = write(tmp_path / "g.fa", text)
    at = text.index("\n", 100)
    path.write_text(text[: at - 1] + "\n" + text[at - 1] + text[at + 1 :])
    genome = Genome(path)
    assert genome.contig("b").tobytes().decode() == TWO
    with pytest.raises(InputError, match="not every line of contig a holds 60 bases.*samtools faidx"):
        genome.contig("a")


@pytest.mark.parametrize("packed", [False, True])
def test_a_gzi_need_not_be_trusted(tmp_path: Path, packed: bool) -> None:
    big = "".join(DRAW.choice("ACGT") for _ in range(200_000))
    path = write(tmp_path / "g.fa", fasta({"a": big, "b": TWO}), packed=True)
    if packed:
        other = write(tmp_path / "h.fa", fasta({"x": TWO, "a": big[1:]}), packed=True)
        os.replace(f"{other}.gzi", f"{path}.gzi")
    else:
        os.remove(f"{path}.gzi")
    assert letters(Genome(path)) == {"a": big, "b": TWO}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data[: -len(BGZF_END)], "ends without the closing block of bgzip"),
        (lambda data: data[:-40] + BGZF_END, "damaged|cut short"),
        (lambda data: data[:100] + bytes([data[100] ^ 64]) + data[101:], "cannot be unpacked"),
    ],
)
def test_damaged_bgzip_is_refused(tmp_path: Path, change: Callable[[bytes], bytes], message: str) -> None:
    path = write(tmp_path / "g.fa", fasta({"a": ONE, "b": TWO}), packed=True)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=message):
        Genome(path)


def test_names_that_stand_twice_are_refused(tmp_path: Path) -> None:
    for records in (
        [("a", ONE), ("a again", TWO), ("b", THREE)],
        [("a", ONE), ("b", THREE), ("a", TWO)],
        [("a", ONE), ("a", ONE)],
    ):
        path = tmp_path / "g.fa"
        text = "".join(fasta({name: bases}) for name, bases in records)
        write(path, text, index=False)
        Path(f"{path}.fai").unlink(missing_ok=True)
        for _ in range(2):  # without an index, and with the one that was made
            with pytest.raises(InputError, match="holds two contigs named a; rename or remove one"):
                Genome(path)
    Path(f"{path}.fai").write_text("a\t1210\t3\t60\t61\na\t1210\t1237\t60\t61\n")
    with pytest.raises(InputError, match="two contigs named a"):
        Genome(path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\xef\xbb\xbf>a\nACGT\n", "line 1 begins with a byte order mark"),
        (b">a\rACGT\r>b\rAC\r", "line 1 ends in a carriage return alone"),
        (b">a\nACGT\n>b\nAC\0GT\nAA\n", "line 4: a NUL byte"),
        (b">a\nACGT\n>b\nACGT\nA\0CG\nAC\n", "line 5: a NUL byte"),
        (b">a\nACGT\nAC\x01T\n", r"line 3: '\\x01'; is the file damaged"),
        (b">a\nACGT\nAC-T\n", "line 3: contig a holds '-', which is no base"),
        (b">a\nACGT\nAC\rT\nACGT\n", "line 3: a carriage return within"),
        (b">a\nACGT\nAC\nACGT\n", "line 4: not as many letters as in the lines before"),
        (b">b\nAC\n>a\nACGT\nACGT\nACGTA\n", "line 6: not as many letters as in the lines before"),
        (b">a\nACGT\nAC GT\nACGT\n", "line 3: not as many letters"),
        (b"\0>a\nACGT\n", "is no FASTA file"),
    ],
)
def test_damaged_text_is_named_by_its_line(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "g.fa"
    path.write_bytes(data)
    with pytest.raises(InputError, match=message):
        letters(Genome(path))


def test_letters_of_contigs_that_no_tile_lies_on_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "g.fa").write_bytes(b">a\nACGT\n>b\nAC-TAA\n")
    assert Genome(tmp_path / "g.fa").contig("a").tobytes() == b"ACGT"


@pytest.mark.parametrize(
    "index",
    ["a\t4\t3\t4\n", "a\tx\t3\t4\t5\n", "a\t-4\t3\t4\t5\n", "a\t4\t3\t0\t5\n", f"a\t{10**18}\t3\t4\t5\n"],
)
def test_an_index_that_is_none_is_refused(tmp_path: Path, index: str) -> None:
    (tmp_path / "g.fa").write_text(">a\nACGT\n")
    (tmp_path / "g.fa.fai").write_text(index)
    with pytest.raises(InputError, match="g.fa.fai belongs to another version.*samtools faidx"):
        Genome(tmp_path / "g.fa")


def test_a_genome_that_changes_under_way_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "g.fa", fasta({"a": ONE, "b": TWO}))
    genome = Genome(path)
    genome.contig("a")
    path.write_text(fasta({"a": ONE, "b": THREE}))
    with pytest.raises(InputError, match="was changed while it was read"):
        genome.contig("b")


def test_a_wrong_index_is_one_line(tmp_path: Path, cli: Any) -> None:
    path = write(tmp_path / "g.fa", fasta({"a": ONE}))
    write(path, fasta({"b": TWO, "a": ONE}), index=False)
    (tmp_path / "r.bed").write_text("a\t10\t90\n")
    ran = cli("variants", "--fasta", path, "--tiles", tmp_path / "r.bed", "-o", tmp_path / "o.parquet")
    assert ran.code == 2
    assert len(ran.err.splitlines()) == 1
    assert f"samtools faidx {path}" in ran.err
    assert not (tmp_path / "o.parquet").exists()
