"""Make standard streams safe for any text: nothing controls the terminal, no encoding ends a command.

Names in files are not ours. On a terminal, control characters (which can move its cursor, retitle it or hide
text) and those that turn the direction of writing are spelt out, as \\x1b, whatever command prints them and
by whichever way. In pipes and files bytes stay as they are, but for characters that the stream's encoding
does not have.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any, TextIO

from legscore.errors import spell_controls

STANDARD = (os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)
"""How standard input, output and error are opened on the null device where the caller closed them."""


class _ShownBytes(io.BufferedIOBase):
    """UTF-8 for a terminal: control characters but line ends and tabs are spelt out, the rest is written in
    the terminal's own encoding."""

    def __init__(self, terminal: TextIO) -> None:
        self.terminal = terminal
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return True

    def fileno(self) -> int:
        return self.terminal.fileno()

    def write(self, data: Any) -> int:
        raw = bytes(memoryview(data))
        shown = spell_controls(self._decoder.decode(raw), keep="\n\t")
        self.terminal.buffer.write(shown.encode(self.terminal.encoding, "backslashreplace"))
        return len(raw)

    def flush(self) -> None:
        self.terminal.flush()


def guard_streams() -> None:
    """Make sys.stdout and sys.stderr safe to print anything to. Call it before the first file is opened: a
    standard stream that the caller closed would otherwise lend its number, and its output, to that file."""
    for number, how in enumerate(STANDARD):
        try:
            os.fstat(number)
        except OSError:
            # standard output is opened for reading: results written to it are refused, not lost
            os.open(os.devnull, os.O_RDONLY if number == 1 else how)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper) and not isinstance(stream.buffer, _ShownBytes):
            if stream.isatty():
                shown: Any = _ShownBytes(stream)
                setattr(sys, name, io.TextIOWrapper(shown, "utf-8", "backslashreplace", line_buffering=True))
            elif stream.errors == "strict":
                stream.reconfigure(errors="backslashreplace")


def bar_stream() -> TextIO:
    """Standard error as a progress bar needs it: the terminal itself, whose cursor the bar moves."""
    stream = sys.stderr
    inner = getattr(stream, "buffer", None)
    return inner.terminal if isinstance(inner, _ShownBytes) else stream
