"""A scored VCF or BCF → the table of its scores, one row per ALT and tile, for `report` and `evaluate`."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
import pysam

from legscore.errors import InputError
from legscore.input.source import READ_ERRORS, first_line
from legscore.system.json_records import parse_record
from legscore.system.publish import record_of
from legscore.variants.vcf_file import open_vcf

BLOCK_ROWS = 65_536
COLUMN_OF = {
    "gene": "gene",
    "symbol": "gene_name",
    "tile": "tile_id",
    "strand": "strand",
    "effect": "effect",
    "sd": "effect_sd",
    "by": "scored_by",
    "Consequence": "status",
}
"""Field of an entry of LEGSCORE → column of the table."""
NUMBERS = ("effect", "effect_sd")
TYPES = {"Float": pa.float64(), "Integer": pa.int64(), "String": pa.string(), "Character": pa.string()}
OWN = ("LEGSCORE", "LEGSCORE_MAX")


def write_table(source: Path, target: Path) -> int:
    """Write the scores of a VCF as Parquet, and INFO fields of one value, or one for each ALT, as columns.

    Args:
        source: a VCF or BCF that `legscore run` wrote.
        target: the Parquet file to write; it gets the metadata of the record beside `source`.

    Returns:
        Rows written.

    Raises:
        InputError: it cannot be read, or holds no scores.
    """
    rows = 0
    try:
        with open_vcf(source) as file:
            fields = _fields(file.header, source)
            carried = {
                name: item
                for name, item in file.header.info.items()
                if item.number in (1, "A") and item.type in TYPES and name not in OWN
            }
            schema = _schema(fields, carried, source)
            with pq.ParquetWriter(target, schema) as writer:
                for block in _blocks(file, fields, carried):
                    writer.write_table(pa.Table.from_pylist(block, schema))
                    rows += len(block)
    except READ_ERRORS as error:
        raise InputError(f"{source} cannot be read as a VCF: {first_line(error)}") from error
    if not rows:
        raise InputError(f"{source}: no record has scores; was any variant in a tile?")
    return rows


def _fields(header: Any, source: Path) -> list[str]:
    """Names of the fields of an entry, as the header lists them."""
    text = header.info["LEGSCORE"].description if "LEGSCORE" in header.info else ""
    _, found, names = text.partition("Format: ")
    if not found:
        raise InputError(
            f"{source} holds no scores (its header has no INFO field LEGSCORE with a Format); make it with "
            "legscore run"
        )
    return str(names).split("|")


def _schema(fields: list[str], carried: dict[str, Any], source: Path) -> pa.Schema:
    """Columns of the table, with the metadata of the record beside the VCF, where there is one."""
    of_entries = [COLUMN_OF[name] for name in fields if name in COLUMN_OF]
    types: dict[str, Any] = {"chrom": pa.string(), "pos": pa.int64(), "variant_id": pa.string()}
    types |= {"ref": pa.string(), "alt": pa.string()}
    types |= {name: pa.float64() if name in NUMBERS else pa.string() for name in of_entries}
    types |= {name: TYPES[item.type] for name, item in carried.items() if name not in types}
    schema = pa.schema(list(types.items()))
    with contextlib.suppress(OSError):  # the VCF was moved without its record
        record = parse_record(Path(record_of(str(source))).read_text(encoding="utf-8"))
        schema = schema.with_metadata({b"legscore": json.dumps(record).encode()})
    return schema


def _blocks(file: Any, fields: list[str], carried: dict[str, Any]) -> Iterator[list[dict[str, Any]]]:
    """Rows of the table, some at a time."""
    block: list[dict[str, Any]] = []
    for record in file:
        block += _rows(record, fields, carried)
        if len(block) >= BLOCK_ROWS:
            yield block
            block = []
    if block:
        yield block


def _rows(
    record: pysam.VariantRecord, fields: list[str], carried: dict[str, Any]
) -> Iterator[dict[str, Any]]:
    """A row for each entry of a record."""
    if "LEGSCORE" not in record.info:
        return
    alts = list(record.alts or ())
    told = {name: record.info[name] for name in carried if name in record.info}
    for text in record.info["LEGSCORE"]:
        entry = dict(zip(fields, (unquote(part) for part in text.split("|")), strict=False))
        alt = entry.get("ALT")
        row: dict[str, Any] = {
            "chrom": record.chrom,
            "pos": record.pos,
            "variant_id": record.id,
            "ref": record.ref,
            "alt": alt,
        }
        for name, value in told.items():
            of_alts = carried[name].number == "A"
            number = alts.index(alt) if alt in alts else None
            row[name] = (value[number] if number is not None else None) if of_alts else value
        for name, column in COLUMN_OF.items():
            value = entry.get(name)
            missing = value in (None, ".")
            row[column] = None if missing else float(str(value)) if column in NUMBERS else value
        yield row
