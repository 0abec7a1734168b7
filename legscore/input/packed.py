"""Text files as bytes: packed with gzip or bgzip or not, whole, in an encoding that is read here.

What a file is shows in its first bytes, not in its name. gzip alone cannot tell that members are missing
at the end of a file; bgzip ends every file with an empty block, and a file without it was cut short.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from legscore.errors import InputError
from legscore.system.storage import Remote, open_binary

GZIP_MAGIC = b"\x1f\x8b"
BGZF_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")
"""The empty block that ends every file of bgzip (SAM specification, section 4.1.2)."""
UTF8_MARK = b"\xef\xbb\xbf"
UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
HEAD_BYTES = 1 << 20
MOST_LINE = 8 << 20
"""Letters of a line; longer ones come in pieces. pyarrow reads no row of more than half of this."""


class PackedText:
    """One text file. `is_packed`: whether gzip unpacks it; `head`: its first bytes, unpacked."""

    def __init__(self, path: Path | Remote) -> None:
        """
        Raises:
            InputError: a file of bgzip without its end, or text that is UTF-16 or UTF-32.
            OSError: the file cannot be read or unpacked.
        """
        self.path = path
        with open_binary(path) as stream:
            begin = bytes(stream.read(18))
            self.is_packed = begin.startswith(GZIP_MAGIC) or path.name.lower().endswith(".gz")
            if begin.startswith(GZIP_MAGIC) and begin[12:14] == BGZF_END[12:14]:
                stream.seek(-min(len(BGZF_END), _size(stream)), 2)
                if bytes(stream.read(len(BGZF_END))) != BGZF_END:
                    raise InputError(
                        f"{path} lacks the block that ends a file of bgzip: it was cut short. Copy or make "
                        "it again"
                    )
        with self.open() as unpacked:
            self.head = bytes(unpacked.read(HEAD_BYTES))
        start = self.head[:64]
        if start.startswith(UTF16_MARKS) or (len(start) > 3 and 0 in start[:2] and 0 in start[2:4]):
            raise InputError(
                f"{path} is UTF-16 text; convert it, for example with: iconv -f UTF-16 -t UTF-8 {path} > NEW"
            )

    def open(self) -> Any:
        """An Arrow stream of the unpacked bytes, from the first one on."""
        raw = (
            self.path.filesystem.open_input_stream(self.path.key, compression=None)
            if isinstance(self.path, Remote)
            else pa.OSFile(str(self.path))
        )
        return pa.CompressedInputStream(raw, "gzip") if self.is_packed else raw

    def lines(self) -> Iterator[str]:
        """Lines with their ends (LF, CR LF or CR alone), a character for every byte.

        A byte order mark is left out.
        """
        with (
            self.open() as stream,
            io.TextIOWrapper(io.BufferedReader(stream), encoding="latin-1", newline="") as text,
        ):
            yield text.readline(MOST_LINE).removeprefix(UTF8_MARK.decode("latin-1"))
            while line := text.readline(MOST_LINE):
                yield line

    def line_of(self, at: int) -> int:
        """Number from 1 of the line that holds byte `at` of the unpacked file."""
        number, last = 1, b""
        with self.open() as stream:
            while at > 0 and (block := bytes(stream.read(min(at, HEAD_BYTES)))):
                at -= len(block)
                ends = block.count(b"\n") + block.count(b"\r") - (last + block).count(b"\r\n")
                number, last = number + ends, block[-1:]
        return number


def _size(stream: Any) -> int:
    stream.seek(0, 2)
    return int(stream.tell())
