"""Inputs that can be read once: standard input, pipes, process substitution; kept aside, so that they can be
read again.

What is read twice (every table is looked through before work starts) must be a file. A pipe's bytes go to a
private temporary file, under a name whose ending says what they are; a file that standard input was opened
on (`< table.csv`) is read where it lies.
"""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from legscore.errors import InputError, LegscoreError, OutputError

STANDARD_INPUT = "standard input"
NAMES = ("-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0")
"""What standard input is called."""
KINDS = (
    (b"PAR1", ".parquet", "Parquet"),
    (b"PARE", ".parquet", "Parquet"),
    (b"ARROW1", ".arrow", "Arrow"),
    (b"\xff\xff\xff\xff", ".arrows", "Arrow"),
    (b"BCF", ".bcf", "BCF"),
    (b"##fileformat=VCF", ".vcf", "VCF"),
    (b"##gff-version", ".gff3", "GFF3"),
    (b">", ".fa", "FASTA"),
)
"""The first bytes of a format, its ending, and its name."""
VCF_ENDINGS = (".vcf", ".vcf.gz", ".vcf.bgz", ".bcf")
HEAD_BYTES = 1 << 16
GZIP_MAGIC = b"\x1f\x8b"
UTF8_MARK = b"\xef\xbb\xbf"


class KeptInputs:
    """Names of files that can be read again, and what the user called them.

    Attributes:
        shown: name of a file → what it stands for, of those that were kept aside.
    """

    def __init__(self, folder: Path, say: Any) -> None:
        self.shown: dict[str, str] = {}
        self._folder, self._say, self._has_read_standard_input = folder, say, False

    def path(self, name: str) -> str:
        """The name of a file that holds what `name` gives.

        Args:
            name: as the user wrote it; that of a file that can be read again comes back as it is.

        Raises:
            InputError: standard input is a terminal, is named twice, or gives nothing.
            OutputError: the temporary folder cannot hold it.
        """
        is_standard = name in NAMES
        if not is_standard and not _is_once(name):
            return name
        shown = STANDARD_INPUT if is_standard else name
        with contextlib.ExitStack() as stack:
            if is_standard:
                if self._has_read_standard_input:
                    raise InputError(f"{name}: standard input can be read once; name a file for the other")
                self._has_read_standard_input = True
                stream = _standard_input()
                if (own := _own_file(stream)) is not None:
                    return self._named(own, stream, shown)
            else:
                try:
                    stream = stack.enter_context(open(name, "rb"))
                except OSError as error:
                    raise InputError(f"{name}: {error.strerror}") from error
            return self._kept(stream, shown)

    def _named(self, own: str, stream: BinaryIO, shown: str) -> str:
        """The file that standard input was opened on, by a name whose ending says what it is."""
        with open(own, "rb") as file:
            ending, kind = kind_of(file.read(HEAD_BYTES))
        if not os.path.getsize(own):
            raise InputError(f"{shown} is empty (0 bytes)")
        if Path(own).suffix:
            self._say(f"{shown}: {own} ({kind})")
            return own
        link = self._folder / f"input{len(self.shown)}{ending}"
        link.symlink_to(own)
        self.shown[str(link)] = own
        self._say(f"{shown}: {own} ({kind})")
        return str(link)

    def _kept(self, stream: BinaryIO, shown: str) -> str:
        """A private temporary file with all that a stream gives."""
        import shutil

        head = stream.read(HEAD_BYTES)
        if not head:
            raise InputError(f"{shown} is empty (0 bytes)")
        ending, kind = kind_of(head)
        path = self._folder / f"input{len(self.shown)}{ending}"
        try:
            with open(path, "xb") as file:
                file.write(head)
                shutil.copyfileobj(stream, file, 1 << 20)
        except OSError as error:
            raise OutputError(
                f"{shown} cannot be kept in {self._folder}: {error.strerror or error}; choose another folder "
                "with TMPDIR"
            ) from error
        self.shown[str(path)] = shown
        size = path.stat().st_size
        told = f"{size / 1e6:,.1f} MB" if size >= 1e6 else f"{size:,} bytes"
        self._say(f"{shown}: {told} of {kind}, kept in a private temporary file for this run")
        return str(path)

    def paths(self, names: Sequence[str]) -> list[str]:
        """`path` of each."""
        return [self.path(name) for name in names]

    def scores(self, names: Sequence[str]) -> list[str]:
        """`path` of each; a scored VCF as the table of its scores."""
        found = []
        for path in self.paths(names):
            if path.lower().endswith(VCF_ENDINGS) and os.path.isfile(path):
                from legscore.variants.scored_vcf import write_table  # needs pysam, which tables do not

                shown = self.shown.get(path, path)
                stem = Path(shown).name.split(".")[0]
                (folder := self._folder / str(len(self.shown))).mkdir()
                table = folder / f"{stem}.parquet"
                rows = write_table(Path(path), table)
                self.shown[str(table)] = shown
                self._say(f"{shown}: {rows:,} scores of alleles in tiles")
                path = str(table)
            found.append(path)
        return found

    def of(self, given: Mapping[str, Any], options: Sequence[str]) -> dict[str, Any]:
        """Options of a command, where some of them name files."""
        return {
            name: self.path(value) if name in options and isinstance(value, str) else value
            for name, value in given.items()
        }

    def saying(self, say: Any) -> Any:
        """What says lines with the names that the user knows."""
        return lambda line: say(type(line)(self.as_given(line)))

    def as_given(self, text: str) -> str:
        """A message with the names that the user knows."""
        for path, shown in self.shown.items():
            text = text.replace(path, shown)
            if os.path.basename(path) != os.path.basename(shown):
                text = text.replace(os.path.basename(path), os.path.basename(shown))
        return text


@contextlib.contextmanager
def kept_inputs(say: Any) -> Iterator[KeptInputs]:
    """What keeps inputs that can be read once, until the end of the block; errors in it name them as the user
    did."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix="legscore-") as folder:
        kept = KeptInputs(Path(folder), say)
        try:
            yield kept
        except LegscoreError as error:
            if (text := kept.as_given(str(error))) == str(error):
                raise
            raise type(error)(text) from error


def kind_of(head: bytes) -> tuple[str, str]:
    """The ending of a file that begins so, and what its format is called."""
    if head.startswith(GZIP_MAGIC):
        with contextlib.suppress(zlib.error):  # what is damaged is told when it is read
            ending, kind = kind_of(zlib.decompressobj(31).decompress(head, HEAD_BYTES))
            return (ending, kind) if kind == "BCF" else (f"{ending}.gz", f"packed {kind}")
    head = head.removeprefix(UTF8_MARK)
    for magic, ending, kind in KINDS:
        if head.startswith(magic):
            return ending, kind
    lines = [line for line in head.splitlines() if not line.startswith(b"#")] or [b""]
    return (".tsv", "TSV") if b"\t" in lines[0] else (".csv", "CSV")


def _is_once(name: str) -> bool:
    """Whether a file is a pipe, which can be read once only. Other devices have no end, and are refused where
    files are opened."""
    try:
        mode = os.stat(name).st_mode
    except OSError:  # told where it is opened
        return False
    return stat.S_ISFIFO(mode)


def _standard_input() -> BinaryIO:
    if sys.stdin is None:
        raise InputError(f"{STANDARD_INPUT} is closed; name a file")
    if sys.stdin.isatty():
        raise InputError(f"{STANDARD_INPUT} is a terminal; name a file, or pipe one into the command")
    return sys.stdin.buffer


def _own_file(stream: BinaryIO) -> str | None:
    """The path of a file that a stream was opened on, from its beginning; None for anything else."""
    try:
        found, place = os.fstat(stream.fileno()), stream.tell()
        path = os.readlink(f"/proc/self/fd/{stream.fileno()}")
        same = os.path.samestat(os.stat(path), found)
    except (OSError, ValueError):  # no file, or not Linux
        return None
    return path if stat.S_ISREG(found.st_mode) and same and place == 0 else None
