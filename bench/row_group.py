"""Does a Parquet file that is one huge row group fit a small memory? `legscore run --engine null --memory 2G`
over 1 GB in one row group, as a process of its own that the system holds to it, beside the same rows in
groups of 65,536.

The two outputs must be equal, byte for byte, before anything is reported. Expected: it runs, and the peaks
are equal within a few per cent, since row groups are streamed.

    python bench/row_group.py [--megabytes 1024] [--memory 2G] [--save]
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import arguments, finish
from memory import peak_bytes

NOTE_BYTES, INSERT_BYTES = 320, 80
BLOCK = 100_000


def letters(rng: np.random.Generator, rows: int, width: int) -> pa.Array:
    """Random texts of one width."""
    text = np.frombuffer(b"AGCT", np.uint8)[rng.integers(0, 4, (rows, width), dtype=np.uint8)]
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    return pa.Array.from_buffers(
        pa.string(), rows, [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(text))]
    )


def make(folder: Path, megabytes: int) -> tuple[Path, Path, int]:
    """The same rows in one row group and in many; and how many."""
    rows = -(-megabytes * 2**20 // (NOTE_BYTES + INSERT_BYTES))
    blocks = []
    for start in range(0, rows, BLOCK):
        rng = np.random.default_rng(start)
        n = min(BLOCK, rows - start)
        blocks.append(
            pa.table({"note": letters(rng, n, NOTE_BYTES), "sequence": letters(rng, n, INSERT_BYTES)})
        )
    table = pa.concat_tables(blocks)
    one, many = folder / "one.parquet", folder / "many.parquet"
    pq.write_table(table, one, row_group_size=rows, use_dictionary=False, compression="snappy")
    pq.write_table(table, many, row_group_size=65_536, use_dictionary=False, compression="snappy")
    return one, many, rows


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main() -> None:
    options = arguments(__doc__ or "", megabytes=1024, memory="2G")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        one, many, rows = make(folder, options.megabytes)
        group = pq.read_metadata(one).row_group(0).total_byte_size
        peaks, seconds, hashes = {}, {}, {}
        for path in (one, many):
            out = path.with_suffix(".out.parquet")
            command = [
                "-m",
                "legscore",
                "run",
                str(path),
                "-o",
                str(out),
                "--engine",
                "null",
                "--memory",
                options.memory,
                "-q",
                "--force",
            ]
            started = time.perf_counter()
            peaks[path.stem] = peak_bytes([sys.executable, *command])
            seconds[path.stem] = round(time.perf_counter() - started, 1)
            if pq.read_metadata(out).num_rows != rows:
                raise SystemExit(f"{out} lacks rows; no measurement of wrong output")
            hashes[path.stem] = digest(out)
    if hashes["one"] != hashes["many"]:
        raise SystemExit("the outputs of one row group and of many differ")
    for name, peak in peaks.items():
        print(f"{name:>5}: peak {peak / 2**20:7.1f} MiB of {options.memory}, {seconds[name]} s")
    result = {
        "rows": rows,
        "row_group_bytes": group,
        "memory": options.memory,
        "peak_bytes": peaks,
        "seconds": seconds,
    }
    finish("row_group", result, options.save)


if __name__ == "__main__":
    main()
