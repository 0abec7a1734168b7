"""The file of one part: the results of its rows, which run and which part it is of, under a checksum.

10 to 20 bytes a row, more with --per-model.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import pyarrow as pa

from legscore.rows.reduce import Results
from legscore.system.storage import reason

MAGIC = b"legscore part 2\n"
HEAD, CHECK = struct.Struct("<32sQQ"), struct.Struct("<I")
"""After the magic: fingerprint of the run, number of the part, bytes of the payload; then the CRC-32 of those
and of the payload, which follows."""
N_MEMBERS, SCORED_BY = "n_members", "scored_by"
PER_MODEL, SAMPLED = "per_model:", "sampled:"


@dataclass(frozen=True)
class Scored:
    """Results of one part, with the windows it asked for, those that were scored (equal ones once), and
    windows × members."""

    results: Results
    windows_asked: int
    windows_scored: int
    member_windows: int


class DamagedPartError(Exception):
    """A part file is not what this run wrote for that part; it counts as not there."""


def part_name(number: int) -> str:
    return f"part-{number:08d}"


def packed(scored: Scored, run: bytes, number: int) -> tuple[bytes, pa.Buffer]:
    """What the file of a part holds: its head, and the payload. `run`: the fingerprint of the run."""
    results = scored.results
    arrays = {name: pa.array(values) for name, values in results.columns.items()}
    arrays["status"], arrays["n_count"] = pa.array(results.status_N), pa.array(results.n_count_N)
    for name, values_NM in results.per_model.items():
        arrays[PER_MODEL + name] = pa.FixedSizeListArray.from_arrays(
            pa.array(values_NM.ravel()), values_NM.shape[1]
        )
    for name, values in ((N_MEMBERS, results.n_members_N), (SCORED_BY, results.scored_by_N)):
        if values is not None:
            arrays[name] = pa.array(values)
    arrays |= {SAMPLED + name: pa.array(values) for name, values in results.sampled.items()}
    counts = {
        name: str(getattr(scored, name)) for name in ("windows_asked", "windows_scored", "member_windows")
    }
    table = pa.table(arrays).replace_schema_metadata(counts)
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(table)
    payload = sink.getvalue()
    head = HEAD.pack(run, number, len(payload))
    check = CHECK.pack(zlib.crc32(payload, zlib.crc32(head)))
    return MAGIC + head + check, payload


def unpacked(content: bytes, run: bytes, number: int, rows: int, path: str) -> Scored:
    """The results in the file of a part.

    Args:
        run, number, rows: of the part that it has to be. path: for messages.

    Raises:
        DamagedPartError: it is something else.
    """
    payload = _checked(content, run, number, path)
    try:
        with pa.ipc.open_file(pa.py_buffer(payload)) as reader:
            table = reader.read_all().combine_chunks()
        if table.num_rows != rows:
            raise DamagedPartError(f"{path} holds {table.num_rows:,} rows instead of {rows:,}")
        return _scored(table)
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise DamagedPartError(f"{path} holds no results ({reason(error)})") from error


def _checked(content: bytes, run: bytes, number: int, path: str) -> memoryview:
    """The payload of a part file that is this run's and this part's."""
    start = len(MAGIC) + HEAD.size + CHECK.size
    if len(content) < start or content[: len(MAGIC)] != MAGIC:
        raise DamagedPartError(f"{path} is damaged")
    head, payload = content[len(MAGIC) : len(MAGIC) + HEAD.size], memoryview(content)[start:]
    its_run, its_number, size = HEAD.unpack(head)
    (check,) = CHECK.unpack_from(content, len(MAGIC) + HEAD.size)
    if len(payload) != size or zlib.crc32(payload, zlib.crc32(head)) != check:
        raise DamagedPartError(f"{path} is damaged")
    if its_run != run:
        raise DamagedPartError(f"{path} is of another run")
    if its_number != number:
        raise DamagedPartError(f"{path} is part {its_number}")
    return payload


def _scored(table: pa.Table) -> Scored:
    """The results that a part file holds."""
    columns, per_model, sampled, rows = {}, {}, {}, table.num_rows
    for name in table.column_names:
        column = table.column(name)
        if name.startswith(PER_MODEL):
            width = column.type.list_size
            flat = column.combine_chunks().flatten() if rows else pa.array([], pa.float32())
            values_NM = flat.to_numpy(zero_copy_only=False).reshape(rows, width)
            per_model[name.removeprefix(PER_MODEL)] = values_NM
        elif name.startswith(SAMPLED):
            sampled[name.removeprefix(SAMPLED)] = column.to_numpy()
        else:
            columns[name] = column.to_numpy()
    status, n_count = columns.pop("status"), columns.pop("n_count")
    counts = {key.decode(): int(value) for key, value in table.schema.metadata.items()}
    varying = (columns.pop(N_MEMBERS, None), columns.pop(SCORED_BY, None))
    return Scored(Results(columns, per_model, status, n_count, *varying, sampled), **counts)
