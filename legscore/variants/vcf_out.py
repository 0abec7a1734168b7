"""Scored rows → the VCF they came from, with LEGSCORE and LEGSCORE_MAX in INFO; all else of every record
stays as it is written.

Records are carried as text, so that nothing of them is read and written anew; only a BCF is made from that
text in the end. Rows and records are read side by side in the order of the file: memory stays flat. BGZF and
BCF outputs are indexed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import pyarrow.parquet as pq
import pysam

from legscore.errors import InputError, OutputError, printable
from legscore.input.source import READ_ERRORS
from legscore.system.publish import is_stream, publishing, writing
from legscore.system.storage import Stamp, check_same
from legscore.variants.bcf import as_text, fitting, to_bcf, whole_header
from legscore.variants.build import ALT_NUMBER, RECORD
from legscore.variants.contigs import ContigMap
from legscore.variants.vcf_file import open_vcf, opened

ENTRY = ("ALT", "gene", "tile", "strand", "effect", "sd", "symbol", "Consequence")
"""Fields of an entry, in order; `bcftools +split-vep -a LEGSCORE` reads their names in the header. The last
is the row's status: most versions of split-vep stop where no field is called Consequence."""
ENTRY_OF_BOTH = (*ENTRY[:6], "by", *ENTRY[6:])
"""The same where a student scored first: `by` says who scored the row."""
HEADER = (
    '##INFO=<ID=LEGSCORE,Number=.,Type=String,Description="Effects predicted by legscore, one per ALT and '
    "tile; effect is alt - ref, sd the spread between models (not the error of a prediction), a dot where "
    "there is none, {by}Consequence the status of the score (ok or why there is none); characters that VCF "
    'reserves are percent-encoded. Format: {fields}">',
    (
        '##INFO=<ID=LEGSCORE_MAX,Number=A,Type=Float,Description="For each ALT the signed effect of largest '
        'magnitude over tiles">'
    ),
)
TBI_BASES = 1 << 29
"""The longest contig that a .tbi can index; beyond it, and for BCF, the index is a .csi."""
NAMES = (b"LEGSCORE", b"LEGSCORE_MAX")
GONE_ABOUT = ("--force", "--restart")
"""Options about what was there before; no score depends on them."""
COLUMNS = [
    RECORD, ALT_NUMBER, "chrom", "pos", "ref", "alt", "gene", "gene_name", "tile_id", "strand", "effect",
    "effect_sd", "status",
]  # fmt: skip
Row = tuple[Any, ...]
"""Values of COLUMNS."""


def write_vcf(
    source: Path,
    scored: Path,
    output: str,
    form: str,
    contigs: ContigMap,
    lengths: Mapping[str, int],
    metadata: Mapping[str, Any],
    read: Stamp | None = None,
) -> list[str]:
    """Write `source` again with the scores of `scored` (a Parquet file of `legscore run` with record and ALT
    numbers).

    Args:
        output: where it goes, a file or a stream. form: `vcf`, `vcf.gz` or `bcf`.
        contigs, lengths: names of the VCF → those of the FASTA, and its lengths, for headers without contig
            lines.
        metadata: of the run, for the header.
        read: what `source` was when its alleles were read.

    Returns:
        Lines to print.

    Raises:
        InputError: `source` is not what was scored; nothing is written.
    """
    with publishing(Path(output)) as temporary:
        text = scored.with_name("_annotated.vcf.gz") if form == "bcf" else temporary
        with writing(output):
            stream: BinaryIO = open(text, "wb") if form == "vcf" else pysam.BGZFile(str(text), "wb")  # noqa: SIM115
        with stream:
            plain = as_text(source, scored.with_name("_source.vcf.gz"))
            lines = _lines(plain, contigs, lengths, metadata, complete=form == "bcf")
            if form == "bcf":
                lines = fitting(lines, str(source))
            n_records, n_scored = _annotate(lines, _rows(scored), stream, str(source), output)
        if read is not None:
            check_same(source, read)
        if form == "bcf":
            to_bcf(text, temporary, output)
        said = [f"output: {output} ({n_records:,} records, {n_scored:,} of them in tiles)"]
        if form != "vcf" and not is_stream(output):
            said.append(_index(temporary, Path(output), max(lengths.values())))
    return said


def _annotate(
    lines: Iterator[bytes], rows: Iterator[Row], stream: BinaryIO, source: str, output: str
) -> tuple[int, int]:
    """Write the lines of a VCF with the rows' scores; the number of records, and of those with scores.

    Raises:
        InputError: a row is not of the record that has its number.
    """
    n_records, n_scored = 0, 0
    waiting = next(rows, None)
    for line in lines:
        if not line.startswith(b"#"):
            found: list[Row] = []
            while waiting is not None and waiting[0] == n_records:
                found.append(waiting)
                waiting = next(rows, None)
            n_records += 1
            n_scored += bool(found)
            line = _annotated(line, found, f"{source}, record {n_records}")
        with writing(output):
            stream.write(line + b"\n")
    if waiting is not None:
        raise InputError(f"{source} changed while it was in use: it has {n_records:,} records now")
    return n_records, n_scored


def _lines(
    source: Path,
    contigs: ContigMap,
    lengths: Mapping[str, int],
    metadata: Mapping[str, Any],
    *,
    complete: bool,
) -> Iterator[bytes]:
    """Lines of a text VCF without their ends, our header lines before #CHROM. With `complete`, fields and
    contigs that records use and the header does not list are added to it, as htslib understands them."""
    with open_vcf(source) as file:
        found = list(file.header.contigs)
        whole = whole_header(source, file) if complete else []
        if whole and not found:  # ours come with lengths
            found = list(file.header.contigs)
            whole = [line for line in whole if not line.startswith(b"##contig=")]
    try:
        with opened(source) as stream:
            lines = (line.rstrip(b"\r\n") for line in stream)
            header = list(_header(lines, found, contigs, lengths, metadata))
            yield from _header(iter(whole), found, contigs, lengths, metadata) if whole else header
            yield from lines
    except READ_ERRORS as error:
        raise InputError(f"{source} cannot be read: {error}; is it cut short or damaged?") from error


def _header(
    lines: Iterator[bytes],
    found: list[str],
    contigs: ContigMap,
    lengths: Mapping[str, int],
    metadata: Mapping[str, Any],
) -> Iterator[bytes]:
    """The header up to #CHROM, with our lines, and contig lines from the FASTA's index where it has none."""
    ours = (*(b"##INFO=<ID=" + name + b"," for name in NAMES), b"##legscore_")
    named = False
    for line in lines:
        if line.startswith(b"#CHROM"):
            if not named:
                for name in dict.fromkeys([*found, *contigs.of]):
                    known = contigs.get(name)
                    yield (
                        f"##contig=<ID={name},length={lengths[known]}>" if known else f"##contig=<ID={name}>"
                    ).encode()
            models = ",".join(str(model["sha256"]) for model in metadata["models"])
            for text in (
                *info_lines("cascade" in metadata),
                f"##legscore_version={metadata['legscore']}",
                f"##legscore_models={models}",
                *_student_line(metadata),
                f"##legscore_command={_command(metadata)}",
            ):
                yield text.encode("utf-8", "backslashreplace")
            yield line
            return
        named = named or line.startswith(b"##contig=")
        if not line.startswith(ours):
            yield line


def info_lines(of_both: bool = False) -> list[str]:
    """What a header says of our INFO fields; `of_both`: a student scored first."""
    by = "by who scored it (student or ensemble), " if of_both else ""
    fields = "|".join(ENTRY_OF_BOTH if of_both else ENTRY)
    return [line.format(by=by, fields=fields) for line in HEADER]


def _student_line(metadata: Mapping[str, Any]) -> list[str]:
    """The header's line about a student that scored first."""
    return [f"##legscore_student={metadata['cascade']['student']['sha256']}"] if "cascade" in metadata else []


def _command(metadata: Mapping[str, Any]) -> str:
    """The command line that started the run, or the Python call, in one line, without what says how a run is
    gone about: the same scores have the same bytes."""
    command = metadata.get("command")
    text = command if isinstance(command, str) else json.dumps(command)
    return printable(" ".join(word for word in text.split(" ") if word not in GONE_ABOUT))


def _annotated(line: bytes, rows: list[Row], where: str) -> bytes:
    """The record with its scores in INFO; LEGSCORE of an earlier run is taken out."""
    fields = line.split(b"\t", 8)
    if len(fields) < 8:
        if rows:
            raise InputError(f"{where} is not what was scored: the file changed while it was in use")
        return line
    if not (rows or b"LEGSCORE" in fields[7]):
        return line
    info = [
        item for item in fields[7].split(b";") if item not in (b".", b"") and item.split(b"=")[0] not in NAMES
    ]
    if rows:
        alts = fields[4].decode("utf-8", "replace").split(",")
        chrom, pos, ref = (fields[i].decode("utf-8", "replace") for i in (0, 1, 3))
        for row in rows:
            number = int(row[1])
            alt = alts[number - 1] if number <= len(alts) else None
            if (row[2], str(row[3]), row[4], row[5]) != (chrom, pos.lstrip("0") or "0", ref, alt):
                raise InputError(
                    f"{where} is not what was scored ({row[2]}:{row[3]} {row[4]} {row[5]}): the file changed "
                    "while it was in use"
                )
        info.append(b"LEGSCORE=" + ",".join(map(entry, rows)).encode())
        most = largest(rows, len(alts))
        if any(value is not None for value in most):
            info.append(b"LEGSCORE_MAX=" + ",".join(_number(value) or "." for value in most).encode())
    fields[7] = b";".join(info) or b"."
    return b"\t".join(fields)


def _index(temporary: Path, target: Path, longest: int) -> str:
    """Index the file that is about to be published, beside its final name; said where that cannot be done."""
    kind = "bcf" if target.suffix.lower() == ".bcf" else "vcf"
    csi = kind == "bcf" or longest > TBI_BASES
    index = Path(f"{target}.{'csi' if csi else 'tbi'}")
    try:
        with publishing(index) as aside, writing(index):
            pysam.tabix_index(
                str(temporary), preset=kind, index=str(aside), force=True, keep_original=True, csi=csi
            )
    except (OutputError, *READ_ERRORS):
        return "        not indexed: its records are not sorted by position; sort it with bcftools sort"
    return f"        index: {index}"


def _rows(scored: Path) -> Iterator[Row]:
    """The scored rows, in their order; who scored a row comes last where that is told."""
    with pq.ParquetFile(scored) as file:
        names = [*COLUMNS, *(name for name in ("scored_by",) if name in file.schema_arrow.names)]
        for batch in file.iter_batches(batch_size=16_384, columns=names):
            yield from zip(*(batch.column(name).to_pylist() for name in names), strict=True)


def entry(row: Row) -> str:
    """One row's text in INFO, the fields of ENTRY or ENTRY_OF_BOTH."""
    alt, gene, symbol, tile, strand, effect, sd, status, *by = row[5:]
    fields = [alt, gene, tile, strand, _number(effect), _number(sd), *by, symbol, status]
    return "|".join("." if field is None else quote(str(field), safe="<>[]*:.+@()/-_") for field in fields)


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"


def largest(rows: list[Row], n_alts: int) -> tuple[float | None, ...]:
    """For each ALT the effect of largest magnitude, None where none is known."""
    found: list[float | None] = [None] * n_alts
    for row in rows:
        place, effect = int(row[1]) - 1, row[10]
        held = found[place]
        if effect is not None and math.isfinite(effect) and (held is None or abs(effect) > abs(held)):
            found[place] = effect
    return tuple(found)
