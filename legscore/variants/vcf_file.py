"""VCF and BCF files opened with pysam (htslib), plain, bgzipped or gzipped; where one is damaged."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from legscore.errors import InputError
from legscore.input.source import READ_ERRORS, first_line

PYSAM_TROUBLE = (AssertionError, NotImplementedError, TypeError)
"""What pysam raises for some damaged files in place of an error of their own: a header without its tables, a
stream that has no place, a file whose name it cannot write into its message."""
VCF_EXTENSIONS = (".vcf", ".vcf.gz", ".vcf.bgz", ".bcf")


def is_vcf(path: str | Path) -> bool:
    """Whether a name is that of a VCF or BCF."""
    return str(path).lower().endswith(VCF_EXTENSIONS)


@contextlib.contextmanager
def open_vcf(path: Path, index: Path | None = None) -> Iterator[Any]:
    """A pysam.VariantFile, closed at the end. What is gzipped without blocks is read as a stream, from its
    beginning only.

    Args:
        index: proved to be the file's own (`vcf_index`), for reading regions.

    Raises:
        InputError: there is no such file or no valid header.
    """
    import pysam

    pysam.set_verbosity(0)  # its messages would stand beside ours
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    with contextlib.ExitStack() as stack:
        try:
            # pysam asks files for their place, which gzip without blocks has not; streams it does not ask
            if _plain_gzip(path):
                file = pysam.VariantFile(stack.enter_context(open(path, "rb")))
                stack.callback(_close_stream, file)
            else:
                given = {} if index is None else {"index_filename": str(index)}
                file = pysam.VariantFile(str(path), **given)
                stack.push(_closing(path, file))
            try:
                list(file.header.contigs), list(file.header.samples)
            except UnicodeDecodeError:
                raise InputError(
                    f"{path} cannot be read: its header names a contig or sample that is no UTF-8 text"
                ) from None
        except PYSAM_TROUBLE as error:
            raise InputError(
                f"{path} cannot be read as VCF or BCF: its first block or header is damaged"
            ) from error
        except READ_ERRORS as error:
            if "truncated" in str(error):
                raise InputError(f"{path} cannot be read: {first_line(error)}; is it cut short?") from error
            why = (
                "it is empty (0 bytes)"
                if not path.stat().st_size
                else _header_trouble(path) or first_line(error)
            )
            raise InputError(f"{path} cannot be read as VCF or BCF: {why}") from error
        yield file


def _plain_gzip(path: Path) -> bool:
    """Whether a file is gzipped, but not in the blocks of bgzip."""
    with open(path, "rb") as stream:
        head = stream.read(18)
    return head[:2] == b"\x1f\x8b" and head[12:14] != b"BC"


def _closing(path: Path, file: Any) -> Callable[..., None]:
    """Closes the file; InputError where that tells of damage that nothing has told of before."""

    def close(kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            file.close()
        except READ_ERRORS as damage:
            if kind is None:
                raise InputError(f"{path} cannot be read to its end; is it cut short or damaged?") from damage

    return close


def _close_stream(file: Any) -> None:
    """Damage has been reported by the reader; pysam says it again on closing, with a TypeError where the file
    has no name."""
    with contextlib.suppress(TypeError, *READ_ERRORS):
        file.close()


def opened(path: Path) -> Any:
    """A file of bytes, unpacked where it is gzipped. The caller closes it."""
    with open(path, "rb") as raw:
        packed = raw.read(2) == b"\x1f\x8b"
    return gzip.open(path) if packed else open(path, "rb")


def first_column(path: Path) -> list[str]:
    """Contigs of a VCF whose header names none, in the order of the file."""
    names: dict[bytes, None] = {}
    try:
        with opened(path) as stream:
            for line in stream:
                if line[:1] != b"#":
                    names[line.split(b"\t", 1)[0]] = None
    except READ_ERRORS as error:
        raise InputError(
            f"{path} cannot be read: {first_line(error)}; is it cut short or damaged?"
        ) from error
    return [name.decode("utf-8", "replace").strip() for name in names if name.strip()]


MERGED = re.compile(rb"\r(?!\r*\n)[^\t\r\n]+\t\d+\t")
"""A record behind a carriage return: htslib takes it for the end of the record before."""
SCAN_BYTES = 1 << 20


def check_line_ends(path: Path) -> None:
    """InputError for the line of a text VCF in which a carriage return alone ends a record. For files without
    samples: in others such a line has too many columns."""
    n_lines, rest = 0, b""
    # the reader of the records tells of damage
    with contextlib.suppress(*READ_ERRORS), opened(path) as stream:
        while chunk := stream.read(SCAN_BYTES):
            text = rest + chunk
            if b"\r" in text and (found := MERGED.search(text)):
                line = n_lines + 1 + text.count(b"\n", 0, found.start())
                raise InputError(
                    f"{path}, line {line}: a carriage return ends a record, and line feeds end others; write "
                    "line feeds alone: tr '\\r' '\\n'"
                )
            kept = text.rfind(b"\n") + 1
            n_lines, rest = n_lines + text.count(b"\n"), text[kept:][-SCAN_BYTES:]


def unreadable(path: Path, n_read: int, error: Exception) -> InputError:
    """The error for the record after the first `n_read`, with its line where the file is text."""
    why = first_line(error)
    if "truncated" in why:  # what pysam says of every record that htslib refuses
        why = "htslib cannot read this record"
    if isinstance(error, UnicodeDecodeError):
        why = "it holds bytes that are no UTF-8 text"
    try:
        with opened(path) as stream:
            if stream.read(3) == b"BCF":
                return InputError(f"{path}, record {n_read + 1}: {why}; the file is damaged or not valid BCF")
            stream.seek(0)
            seen, in_header = 0, True
            for number, line in enumerate(stream, 1):
                in_header = in_header and line[:1] == b"#"
                if not in_header:
                    seen += 1
                    if seen == n_read + 1:
                        shown = line[:60].decode("utf-8", "replace").rstrip().replace("\t", " ")
                        if line[:1] == b"#" or not line.strip():
                            why = "a comment or an empty line stands among the records"
                        return InputError(
                            f"{path}, line {number}: {why} ({shown!r}); is it cut short or damaged? Correct "
                            "or remove it"
                        )
    except READ_ERRORS as damage:
        return InputError(
            f"{path} cannot be read after {n_read:,} records: {first_line(damage)}; is it cut short or "
            "damaged?"
        )
    return InputError(
        f"{path} cannot be read after {n_read:,} records: {first_line(error)}; is it cut short or damaged?"
    )


def _header_trouble(path: Path) -> str | None:
    """What is wrong with the header of a text VCF, with the line number."""
    try:
        with opened(path) as stream:
            for number, line in enumerate(stream, 1):
                if number == 1 and line[:3] == b"BCF":
                    return None
                if number == 1 and line.startswith(codecs.BOM_UTF8):
                    return "it begins with a byte order mark; remove its first three bytes: tail -c +4"
                if number == 1 and b"\r" in line.rstrip(b"\r\n"):
                    return "its lines end in carriage returns alone; write line feeds: tr '\\r' '\\n'"
                if number == 1 and not line.startswith(b"##fileformat=VCF"):
                    return (
                        "line 1 is not ##fileformat=VCFv4.x but "
                        f"{line[:40].decode('utf-8', 'replace').rstrip()!r}"
                    )
                if line.startswith(b"#CHROM"):
                    return (
                        f"htslib refuses its header, which ends in line {number}; check the ## lines and "
                        "the tabs"
                    )
                if not line.startswith(b"#"):
                    return f"line {number} follows the header without a #CHROM line"
    except READ_ERRORS as error:
        return f"{first_line(error)}; is it cut short or damaged?"
    return "it has no #CHROM line"
