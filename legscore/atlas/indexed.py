"""The scores of an atlas as bgzipped text with an index, for bcftools, tabix and VEP: a VCF with a record for
each change, or a TSV with a row for each change and tile."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pysam

from legscore.atlas.contents import SCORES
from legscore.atlas.scaled import COLUMNS, Scale
from legscore.errors import OutputError
from legscore.input.source import READ_ERRORS
from legscore.system.publish import writing
from legscore.system.storage import reason
from legscore.variants.vcf_out import TBI_BASES, entry, info_lines, largest

SHOWN = (
    "chrom", "pos", "ref", "alt", "gene", "gene_name", "tile_id", "strand", "effect", "effect_sd", "status",
)  # fmt: skip
"""Columns of the TSV; in the order in which an entry of a VCF takes them."""


def write_indexed(folder: Path, manifest: Mapping[str, Any]) -> list[Path]:
    """Write `atlas.vcf.gz` or `atlas.tsv.gz` of the files that a manifest names, with its index; both
    paths."""
    form = manifest["tabix"]
    path = folder / f"atlas.{form}.gz"
    lines = _vcf_lines(folder, manifest) if form == "vcf" else _tsv_lines(folder, manifest)
    with writing(path):
        stream = pysam.BGZFile(str(path), "wb")
    with stream:
        for block in lines:
            with writing(path):
                stream.write(block.encode())
    csi = max((known["bases"] for known in manifest["genome"].values()), default=0) > TBI_BASES
    where: dict[str, Any] = (
        {"preset": "vcf"} if form == "vcf" else {"seq_col": 0, "start_col": 1, "end_col": 1, "meta_char": "#"}
    )
    index = Path(f"{path}.{'csi' if csi else 'tbi'}")
    try:
        pysam.tabix_index(str(path), force=True, keep_original=True, index=str(index), csi=csi, **where)
    except (OutputError, *READ_ERRORS) as error:
        raise OutputError(f"{path} cannot be indexed: {reason(error)}") from error
    return [path, index]


def _rows(folder: Path, manifest: Mapping[str, Any]) -> Iterator[list[tuple[Any, ...]]]:
    """Rows of SHOWN in order of position, file by file."""
    scale = Scale(manifest["numbers"].get("factor", {}))
    shown = dict(zip(COLUMNS, scale.names(), strict=True))
    for name in sorted(name for name in manifest["files"] if name.startswith(SCORES)):
        table = pq.read_table(folder / name, columns=[shown.get(column, column) for column in SHOWN])
        columns = []
        for column in SHOWN:
            array = table[shown.get(column, column)].combine_chunks()
            if scale and column in shown:
                values = scale.decode(column, array.fill_null(0).to_numpy(zero_copy_only=False))
                array = pa.array(values, mask=array.is_null().to_numpy(zero_copy_only=False))
            columns.append(array.to_pylist())
        yield list(zip(*columns, strict=True))


def _tsv_lines(folder: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    yield "#" + "\t".join(SHOWN) + "\n"
    for rows in _rows(folder, manifest):
        yield "".join("\t".join(map(_text, row)) + "\n" for row in rows)


def _text(value: Any) -> str:
    return "." if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)


def _vcf_lines(folder: Path, manifest: Mapping[str, Any]) -> Iterator[str]:
    models = ",".join(str(model["sha256"]) for model in manifest["models"])
    yield "##fileformat=VCFv4.2\n"
    for name, known in manifest["genome"].items():
        yield f"##contig=<ID={name},length={known['bases']}>\n"
    for line in (*info_lines(), f"##legscore_version={manifest['legscore']}", f"##legscore_models={models}"):
        yield f"{line}\n"
    yield "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    for rows in _rows(folder, manifest):
        block: list[str] = []
        same: list[tuple[Any, ...]] = []
        for row in rows:
            if same and row[1:4] != same[0][1:4]:
                block.append(_record(same))
                same = []
            same.append(row)
        if same:
            block.append(_record(same))
        yield "".join(block)


def _record(rows: list[tuple[Any, ...]]) -> str:
    """One change in its tiles, as a line of a VCF."""
    chrom, pos, ref, alt = rows[0][:4]
    numbered = [(None, 1, *row) for row in rows]
    (most,) = largest(numbered, 1)
    info = f"LEGSCORE={','.join(map(entry, numbered))}" + (
        "" if most is None else f";LEGSCORE_MAX={most:.6g}"
    )
    return f"{chrom}\t{pos}\t.\t{ref}\t{alt}\t.\t.\t{info}\n"
