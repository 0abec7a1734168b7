"""CSV and TSV (also .gz) as record batches. Opening makes one whole pass, which finds damage (ends cut
off, quotes never closed, bytes that are no text), counts rows for the progress bar and says which columns
are whole numbers.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from csv import DictReader
from csv import Error as CSVError
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from legscore.errors import InputError
from legscore.input.packed import HEAD_BYTES, MOST_LINE, UTF8_MARK, PackedText
from legscore.input.quotes import QuoteScan, first_damage
from legscore.input.source import READ_ERRORS, Source, refuse_twice, without_first
from legscore.system.storage import Remote

DELIMITER = {"CSV": ",", "TSV": "\t"}
BLOCK_BYTES, HEADER_BYTES = 4 << 20, 1 << 18
LINE_END = re.compile(rb"\r\n|\n|\r")
COMMENT = b"##"
"""Begins lines that may stand above a header line, as in tables of association studies."""


class TextSource(Source):
    """CSV or TSV with a header line; every column is text, carried exactly as written (007 stays 007, 1.10
    stays 1.10).

    Unquoted empty fields are null, `""` is an empty text; no other text is null here. Lines above the header
    that begin with `##` or are blank are passed over.
    """

    has_types = False
    checks_text = True

    def __init__(self, path: Path | Remote, format_name: str, names: Sequence[str] | None = None) -> None:
        super().__init__(path)
        self.format, self._given = format_name, list(names) if names else None
        self._text = PackedText(path)
        self._comments, comment_bytes = _comments(self._text.head, path)
        self._one_column = False
        self.n_rows = 0
        try:
            there = self._names()
            refuse_twice(path, there)
            if any("\0" in name for name in there):
                raise InputError(f"{path}: the name of a column holds a NUL byte; it is damaged, or no text")
            self.schema = pa.schema([(name, pa.string()) for name in there])
            # a null in a one-column file is a blank line; in any other file a blank line is nothing
            self._one_column = len(self.schema) == 1
            scan = self._pass(comment_bytes)
        except READ_ERRORS as error:
            self._explain(error)
        if not scan.is_sound:
            self._refuse_damage()

    def _names(self) -> list[str]:
        """Names of the columns, from a short block where the first rows fit one."""
        with (
            contextlib.suppress(pa.ArrowInvalid),
            self._opened(None, self._text.open(), HEADER_BYTES) as short,
        ):
            return list(short.schema.names)
        with self._opened(None, self._text.open()) as reader:
            return list(reader.schema.names)

    def _pass(self, comment_bytes: int) -> QuoteScan:
        """Read all of it once, and count; what was seen of its quotes."""
        passing = _Passing(self._text.open(), DELIMITER[self.format], comment_bytes)
        with self._opened(None, passing) as reader:
            for batch in reader:
                for name in self.schema.names:
                    if name not in self.not_whole and (found := _first_not_whole(batch.column(name))):
                        self.not_whole[name] = (self.n_rows + found[0] + 1, found[1])
                self.n_rows += batch.num_rows
        return passing.scan

    def _refuse_damage(self) -> None:
        if damage := first_damage(self._text.lines(), DELIMITER[self.format], MOST_LINE):
            raise InputError(
                f'{self.path}: {damage}. Write a " inside a value as "", and such a value between quotes'
            )

    def _explain(self, error: BaseException) -> NoReturn:
        """Raise what is wrong with the text, with its line, where that can be told; else `error`."""
        # a broken stream says so again, and that is the better line
        with contextlib.suppress(*READ_ERRORS):
            self._refuse_damage()
            for number, line in enumerate(self._text.lines(), start=1):
                if not line.isascii():
                    try:
                        line.encode("latin-1").decode()
                    except UnicodeDecodeError as wrong:
                        raise InputError(
                            f"{self.path}: line {number} is not UTF-8 text ({wrong.reason}); convert the "
                            "file, for example with: iconv -f LATIN1 -t UTF-8"
                        ) from error
        raise error

    def _opened(
        self, columns: Sequence[str] | None, stream: Any, block_bytes: int = 0
    ) -> contextlib.AbstractContextManager[pa.RecordBatchReader]:
        from pyarrow import csv

        types = {name: pa.string() for name in getattr(self, "schema", pa.schema([])).names}
        return csv.open_csv(
            stream,
            read_options=csv.ReadOptions(
                block_size=block_bytes or BLOCK_BYTES,
                use_threads=False,
                column_names=self._given,
                skip_rows=self._comments,
            ),
            parse_options=csv.ParseOptions(
                delimiter=DELIMITER[self.format],
                newlines_in_values=True,
                ignore_empty_lines=not self._one_column,
            ),
            convert_options=csv.ConvertOptions(
                column_types=types,
                null_values=[""],
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
                include_columns=list(columns) if columns else None,
            ),
        )

    def batches(self, columns: Sequence[str], rows: int, skip: int = 0) -> Iterator[pa.RecordBatch]:
        with self._opened(columns, self._text.open()) as reader:
            for batch in without_first(reader, skip):
                for start in range(0, batch.num_rows, rows):
                    yield batch.slice(start, rows)


def first_rows(path: Path | Remote, format_name: str) -> Iterator[dict[str, str]]:
    """Rows of the first HEAD_BYTES of a CSV or TSV with a header line, {column: text}, for a first look; what
    cannot be read there ends them."""
    head = PackedText(path).head
    _, begin = _comments(head, path)
    end = len(head) if len(head) < HEAD_BYTES else head.rfind(b"\n") + 1
    lines = io.StringIO(head[begin:end].decode("utf-8", "replace"))
    with contextlib.suppress(CSVError):
        yield from DictReader(lines, delimiter=DELIMITER[format_name])


class _Passing(io.RawIOBase):
    """Hands a text on, block by block, and looks at it in passing."""

    def __init__(self, stream: Any, delimiter: str, skip: int) -> None:
        """`skip`: bytes at the beginning that are not looked at."""
        self._stream, self._skip, self.scan = stream, skip, QuoteScan(delimiter)

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> Any:
        block = self._stream.read_buffer(size if size >= 0 else None)
        self.scan.add(np.frombuffer(block, dtype=np.uint8)[self._skip :])
        self._skip = max(0, self._skip - block.size)
        return block

    def close(self) -> None:
        self._stream.close()
        super().close()


def _comments(head: bytes, path: Path | Remote) -> tuple[int, int]:
    """How many lines above the header begin with COMMENT or are blank, and the bytes of these and of a byte
    order mark."""
    at = len(UTF8_MARK) if head.startswith(UTF8_MARK) else 0
    number = 0
    while True:
        if head[at : at + 1] in (b"\n", b"\r"):
            begin, at = at, len(head) - len(head[at:].lstrip(b"\r\n"))
            if at == len(head) >= HEAD_BYTES:
                raise InputError(f"{path} has only blank lines in its first {len(head):,} bytes")
            if at == len(head):  # nothing follows, and Arrow says that the file is empty
                return number, begin
            number += len(LINE_END.findall(head, begin, at))
            continue
        if not head.startswith(COMMENT, at):
            return number, at
        end = head.find(b"\n", at)
        end = head.find(b"\r", at) if end < 0 else end
        if end < 0:
            raise InputError(
                f"{path} has no header line in its first {len(head):,} bytes, only lines with ##"
            )
        at, number = end + 1, number + 1


def _first_not_whole(column: pa.Array) -> tuple[int, str] | None:
    """Row in the column and text of the first value that is no whole number; None when all are (or null)."""
    try:
        column.cast(pa.int64())
    except pa.ArrowInvalid:
        for row, text in enumerate(column.to_pylist()):
            try:
                pa.array([text], pa.string()).cast(pa.int64())
            except pa.ArrowInvalid:
                return row, str(text)
    return None
