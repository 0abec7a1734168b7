"""FASTA (also .gz) as record batches. Opening makes one whole pass, which finds damage and counts records."""

from __future__ import annotations

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
"""What no line of a FASTA file does; a reader in C would take a NUL for the end of the sequence."""


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
        self.n_rows, at, since, last = 1, 0, 0, b""
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
        import pysam

        records: list[tuple[str, str | None, str]] = []
        n_bases = 0
        with pysam.FastxFile(str(self.path), persist=False) as file:
            for record in file:
                sequence = record.sequence or ""
                records.append((record.name or "", record.comment, sequence))
                n_bases += len(sequence)
                if len(records) >= rows or n_bases >= MOST_BATCH_BASES:
                    yield self._batch(records)
                    records, n_bases = [], 0
        if records:
            yield self._batch(records)

    def _batch(self, records: list[tuple[str, str | None, str]]) -> pa.RecordBatch:
        arrays = [
            pa.array(values, field.type)
            for values, field in zip(zip(*records, strict=True), self.schema, strict=True)
        ]
        return pa.RecordBatch.from_arrays(arrays, schema=self.schema)
