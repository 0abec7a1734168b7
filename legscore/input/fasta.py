"""FASTA (also .gz) as record batches. Opening makes one whole pass, which finds damage and counts records."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from legscore.errors import InputError
from legscore.input.packed import UTF8_MARK, PackedText
from legscore.input.source import Source, without_first

BLOCK_BYTES = 1 << 20
MOST_BATCH_BASES = 4 << 20
MOST_RECORD_BYTES = 256 << 20
"""Of header and sequence; the longest human chromosome has 249 million bases."""
NOT_FASTA = (
    (b"\n+", "begins with '+': FASTQ is not read, write FASTA"),
    (b"\n@", "begins with '@': FASTQ is not read, write FASTA"),
    (b"\0", "holds a NUL byte: the file is damaged, copy or make it again"),
)
"""What no line of a FASTA file does; many readers take a NUL for the end of the sequence."""
HEADER = re.compile(rb"(\S*)\s?(.*)", re.S)
"""A header's name and the rest."""


class FastaSource(Source):
    """FASTA: columns `id` (the header up to white space), `description` (the rest, null if none) and
    `sequence`."""

    format, checks_text = "FASTA", True
    schema = pa.schema([("id", pa.string()), ("description", pa.string()), ("sequence", pa.large_string())])

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._text = PackedText(path)
        begin = self._text.head.removeprefix(UTF8_MARK).lstrip(b"\r\n ")
        if not begin.startswith(b">"):
            raise InputError(f"{path} is no FASTA file: it does not begin with '>'")
        lead, _, _ = self._text.head.partition(b">")
        self.n_rows, at, since, last = int(not lead.endswith(b"\n")), 0, 0, b""
        with self._text.open() as stream:
            while block := bytes(stream.read(BLOCK_BYTES)):
                since = since + len(block) if b">" not in block else len(block) - block.rfind(b">")
                if since > MOST_RECORD_BYTES:
                    raise InputError(
                        f"{path}: a record of more than {MOST_RECORD_BYTES >> 20} MiB; sequences to score "
                        "are short"
                    )
                block, at = last + block, at - len(last)
                self.n_rows += block.count(b"\n>")
                self._refuse_damage(block, at)
                at, last = at + len(block), block[-1:]
        if last == b"\r":
            self._refuse_return(at - 1)

    def _refuse_damage(self, block: bytes, at: int) -> None:
        """InputError where a block, which begins at byte `at`, holds what FASTA does not."""
        for mark, what in NOT_FASTA:
            if (found := block.find(mark)) >= 0:
                number = self._text.line_of(at + found + mark.count(b"\n"))
                raise InputError(f"{self.path} has a line that {what} (line {number})")
        if b"\r" in block and block.count(b"\r", 0, -1) != block.count(b"\r\n"):
            alone = next(i for i, byte in enumerate(block) if byte == 13 and block[i + 1 : i + 2] != b"\n")
            self._refuse_return(at + alone)

    def _refuse_return(self, at: int) -> None:
        raise InputError(
            f"{self.path}: line {self._text.line_of(at)} ends with a carriage return alone; convert the line "
            "ends, for example with: tr '\\r' '\\n'"
        )

    def batches(self, columns: object, rows: int, skip: int = 0) -> Iterator[pa.RecordBatch]:
        yield from without_first(self._records(rows), skip)

    def _records(self, rows: int) -> Iterator[pa.RecordBatch]:
        records: list[tuple[str, str | None, str]] = []
        n_bases = 0
        for text in self._texts():
            header, _, lines = text.partition(b"\n")
            name, comment = HEADER.match(header.removesuffix(b"\r")).groups()  # type: ignore[union-attr]
            sequence = lines.translate(None, b"\r\n").decode()
            records.append((name.decode(), comment.decode() or None, sequence))
            n_bases += len(sequence)
            if len(records) >= rows or n_bases >= MOST_BATCH_BASES:
                yield self._batch(records)
                records, n_bases = [], 0
        if records:
            yield self._batch(records)

    def _texts(self) -> Iterator[bytes]:
        """Each record without the '>' that it begins with; pieces of long ones are joined once."""
        pieces, held, is_first = [], b"", True
        with self._text.open() as stream:
            while block := bytes(stream.read(BLOCK_BYTES)):
                block = held + block
                held = b"\n" if block.endswith(b"\n") else b""  # a record may begin behind it
                first, *more = block[: len(block) - len(held)].split(b"\n>")
                pieces.append(first)
                for text in more:
                    record = b"".join(pieces)
                    pieces = [text]
                    if is_first:
                        record = record.removeprefix(UTF8_MARK).lstrip(b"\r\n ")
                        is_first = False
                        if not record:  # the first '>' was not in the first line
                            continue
                        record = record.removeprefix(b">")
                    yield record
        record = b"".join([*pieces, held])
        if is_first:
            record = record.removeprefix(UTF8_MARK).lstrip(b"\r\n ").removeprefix(b">")
        if record:  # a '>' with nothing behind it: the file was cut short, which the count of rows shows
            yield record

    def _batch(self, records: list[tuple[str, str | None, str]]) -> pa.RecordBatch:
        arrays = [
            pa.array(values, field.type)
            for values, field in zip(zip(*records, strict=True), self.schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)
