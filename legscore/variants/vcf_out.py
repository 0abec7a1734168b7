"""Scored rows → the VCF they came from, with LEGSCORE and LEGSCORE_MAX in INFO; all else of every record
stays as it is written.

Records are carried as text, so that nothing of them is read and written anew; only a BCF is made from that
text in the end. Rows and records are read side by side in the order of the file: memory stays flat. BGZF and
BCF outputs are indexed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import pyarrow.parquet as pq
import pysam

from legscore.errors import InputError, OutputError
from legscore.input.source import READ_ERRORS, first_line
from legscore.system.publish import publishing, writing
from legscore.variants.build import ALT_NUMBER, RECORD
from legscore.variants.contigs import ContigMap
from legscore.variants.vcf_file import open_vcf, opened, unreadable

HEADER = (
    '##INFO=<ID=LEGSCORE,Number=.,Type=String,Description="Effects predicted by legscore, one per ALT and '
    "tile: "
    "ALT|gene|tile|strand|effect|sd|status; effect is alt - ref, sd the spread between models (not the "
    "error of a prediction), "
    'a dot where there is none; characters that VCF reserves are percent-encoded">',
    (
        '##INFO=<ID=LEGSCORE_MAX,Number=A,Type=Float,Description="For each ALT the signed effect of largest '
        'magnitude over tiles">'
    ),
)
TBI_BASES = 1 << 29
"""The longest contig that a .tbi can index; beyond it, and for BCF, the index is a .csi."""
NAMES = ("LEGSCORE", "LEGSCORE_MAX")
COLUMNS = [RECORD, ALT_NUMBER, "alt", "gene", "tile_id", "strand", "effect", "effect_sd", "status"]


def write_vcf(
    source: Path,
    scored: Path,
    output: str,
    contigs: ContigMap,
    lengths: Mapping[str, int],
    metadata: Mapping[str, Any],
) -> list[str]:
    """Write `source` again with the scores of `scored` (a Parquet file of `legscore run` with record and ALT
    numbers).

    Args:
        output: ends in .vcf, .vcf.gz, .vcf.bgz or .bcf.
        contigs, lengths: names of the VCF → those of the FASTA, and its lengths, for headers without contig
            lines.
        metadata: of the run, for the header.

    Returns:
        Lines to print.
    """
    name = output.lower()
    n_records, n_scored = 0, 0
    with publishing(Path(output)) as temporary:
        text = scored.with_name("annotated.vcf.gz") if name.endswith(".bcf") else temporary
        rows = _rows(scored)
        waiting = next(rows, None)
        with writing(output):
            stream: BinaryIO = open(text, "wb") if name.endswith(".vcf") else pysam.BGZFile(str(text), "wb")  # noqa: SIM115
        with stream:
            for line in _lines(source, contigs, lengths, metadata, whole_header=name.endswith(".bcf")):
                if not line.startswith(b"#"):
                    found: list[tuple[Any, ...]] = []
                    while waiting is not None and waiting[0] == n_records:
                        found.append(waiting)
                        waiting = next(rows, None)
                    n_records += 1
                    n_scored += bool(found)
                    line = _annotated(line, found)
                with writing(output):
                    stream.write(line + b"\n")
        if waiting is not None:
            raise InputError(f"{source} changed while it was read")
        if name.endswith(".bcf"):
            _to_bcf(text, temporary, output)
        said = [f"output: {output} ({n_records:,} records, {n_scored:,} of them in tiles)"]
        if not name.endswith(".vcf"):
            said.append(_index(temporary, Path(output), max(lengths.values())))
    return said


def _to_bcf(text: Path, target: Path, output: str) -> None:
    """The same records as BCF, as `bcftools view -Ob` makes it. OutputError when it refuses."""
    import pysam.bcftools

    try:
        pysam.bcftools.view("--no-version", "-Ob", "-o", str(target), str(text), catch_stdout=False)
    except (pysam.SamtoolsError, *READ_ERRORS) as error:
        raise OutputError(
            f"{output}: BCF cannot hold this VCF ({first_line(error)}); write .vcf.gz, which leaves records "
            "as they are"
        ) from error


def _lines(
    source: Path,
    contigs: ContigMap,
    lengths: Mapping[str, int],
    metadata: Mapping[str, Any],
    *,
    whole_header: bool,
) -> Iterator[bytes]:
    """Lines of the VCF without their ends, our header lines before #CHROM. BCF as htslib writes it as text.
    With `whole_header` fields and contigs that records use and the header does not list are added to it, as
    htslib understands them."""
    whole: list[bytes] = []
    with open_vcf(source) as file:
        binary, found = file.format == "BCF", list(file.header.contigs)
        if whole_header and not binary:
            n_read = 0
            try:
                for _ in file:
                    n_read += 1
            except READ_ERRORS as error:
                raise unreadable(source, n_read, error) from error
            whole = str(file.header).encode().rstrip(b"\n").split(b"\n")
            if not found:  # ours come with lengths
                found, whole = (
                    list(file.header.contigs),
                    [line for line in whole if not line.startswith(b"##contig=")],
                )
        if binary:
            text = str(file.header).encode().rstrip(b"\n").split(b"\n")
            yield from _header(iter(text), found, contigs, lengths, metadata)
            n_read = 0
            try:
                for record in file:
                    yield str(record).encode().rstrip(b"\n")
                    n_read += 1
            except READ_ERRORS as error:
                raise unreadable(source, n_read, error) from error
            return
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
    ours = (*(f"##INFO=<ID={name},".encode() for name in NAMES), b"##legscore_")
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
                *HEADER,
                f"##legscore_version={metadata['legscore']}",
                f"##legscore_models={models}",
            ):
                yield text.encode()
            yield line
            return
        named = named or line.startswith(b"##contig=")
        if not line.startswith(ours):
            yield line


def _annotated(line: bytes, rows: list[tuple[Any, ...]]) -> bytes:
    """The record with its scores in INFO; LEGSCORE of an earlier run is taken out."""
    fields = line.split(b"\t")
    if len(fields) < 8 or not (rows or b"LEGSCORE" in fields[7]):
        return line
    info = [
        item
        for item in fields[7].split(b";")
        if item not in (b".", b"") and item.split(b"=")[0].decode() not in NAMES
    ]
    if rows:
        info.append(b"LEGSCORE=" + ",".join(map(_entry, rows)).encode())
        largest = _largest(rows, fields[4].count(b",") + 1)
        if any(value is not None for value in largest):
            info.append(b"LEGSCORE_MAX=" + ",".join(_number(value) or "." for value in largest).encode())
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


def _rows(scored: Path) -> Iterator[tuple[Any, ...]]:
    with pq.ParquetFile(scored) as file:
        for batch in file.iter_batches(batch_size=16_384, columns=COLUMNS):
            yield from zip(*(batch.column(name).to_pylist() for name in COLUMNS), strict=True)


def _entry(row: tuple[Any, ...]) -> str:
    _, _, alt, gene, tile, strand, effect, sd, status = row
    fields = [alt, gene, tile, strand, _number(effect), _number(sd), status]
    return "|".join("." if field is None else quote(str(field), safe="<>[]*:.+@()/-_") for field in fields)


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.6g}"


def _largest(rows: list[tuple[Any, ...]], n_alts: int) -> tuple[float | None, ...]:
    largest: list[float | None] = [None] * n_alts
    for row in rows:
        place, effect = int(row[1]) - 1, row[6]
        held = largest[place]
        if effect is not None and math.isfinite(effect) and (held is None or abs(effect) > abs(held)):
            largest[place] = effect
    return tuple(largest)
