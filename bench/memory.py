"""Does memory grow with rows? Peak resident memory of `legscore run --engine null` on few, more and many
rows.

Each run is a process of its own, over Parquet files of distinct 80-bp inserts with a key and a number, alike
but for their number of row groups (10,000 rows each). Row counts of every output are checked first. Expected:
within 5 % from 10,000 rows, which fill a part but no row group of the output, to 2,000,000. The same through
`legscore.score_file`, which leaves the allocator as it is, shows what `legscore.system.allocator` is for.

With another engine a network of one narrow block (a toy, trained for nothing) scores, so that many rows take
minutes; the result has the engine's name (`memory_native.json`).

    python bench/memory.py [--rows 10000,200000,2000000] [--rounds 3] [--engine null] [--save]
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import arguments, finish

BLOCK = 10_000


def make(path: Path, rows: int) -> None:
    """A file of `rows` rows, written block by block."""
    rng = np.random.default_rng(rows)
    schema = pa.schema([("id", pa.string()), ("level", pa.float64()), ("sequence", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, BLOCK):
            n = min(BLOCK, rows - start)
            letters = np.frombuffer(b"AGCT", np.uint8)[rng.integers(0, 4, (n, 80))]
            columns = [
                [f"v{start + i}" for i in range(n)],
                rng.normal(size=n),
                [row.tobytes().decode() for row in letters],
            ]
            writer.write_table(pa.table(columns, schema=schema))


def peak_bytes(command: list[str]) -> int:
    """Peak resident memory of a command."""
    pid = os.spawnv(os.P_NOWAIT, sys.executable, command)
    _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"failed: {' '.join(command)}")
    return int(usage.ru_maxrss) * 1024


def narrow_network(folder: Path) -> list[str]:
    """The words that name a network which scores fast."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    from conftest import toy_checkpoint

    toy_checkpoint(1, widths=(16, 16), inner_widths=(32,), pools=(1,)).save(folder / "narrow.safetensors")
    return ["-m", str(folder / "narrow.safetensors"), "--sequence-is", "insert"]


def main() -> None:
    options = arguments(__doc__ or "", rows="10000,200000,2000000", rounds=3, engine="null")
    sizes = [int(word) for word in options.rows.split(",")]
    peaks: dict[int, list[int]] = {rows: [] for rows in sizes}
    untouched: dict[int, list[int]] = {rows: [] for rows in sizes}
    with tempfile.TemporaryDirectory() as folder:
        models = narrow_network(Path(folder)) if options.engine != "null" else []
        for rows in sizes:
            make(Path(folder) / f"{rows}.parquet", rows)
        if models:  # the fidelity of a network is measured once, through OpenVINO
            source, out = f"{folder}/{sizes[0]}.parquet", f"{folder}/first.parquet"
            words = [sys.executable, "-m", "legscore", "run", source, "-o", out, "-q", *models]
            peak_bytes([*words, "--engine", options.engine])
        for _ in range(options.rounds):
            for rows in sizes:
                source, out = f"{folder}/{rows}.parquet", f"{folder}/{rows}.out.parquet"
                words = [sys.executable, "-m", "legscore", "run", source, "-o", out, "-q", "--force", *models]
                peaks[rows].append(peak_bytes([*words, "--engine", options.engine]))
                if pq.read_metadata(out).num_rows != rows:
                    raise SystemExit(f"{out} lacks rows; no measurement of wrong output")
                if options.engine != "null":
                    continue
                call = f"import legscore; legscore.score_file({source!r}, {out!r}, engine='null', force=True)"
                untouched[rows].append(peak_bytes([sys.executable, "-c", call]))
    median = {rows: statistics.median(found) for rows, found in peaks.items()}
    for rows in sizes:
        line = f"{rows:>10,} rows: peak {median[rows] / 2**20:7.1f} MiB"
        if untouched[rows]:
            line += f", with the allocator as it is {statistics.median(untouched[rows]) / 2**20:7.1f} MiB"
        print(line)
    growth = {rows: median[sizes[-1]] / median[rows] - 1 for rows in sizes[:-1]}
    for rows, share in growth.items():
        print(f"growth from {rows:,} to {sizes[-1]:,} rows: {100 * share:+.1f} %")
    finish(
        "memory" if options.engine == "null" else f"memory_{options.engine}",
        {"rows": sizes, "peak_bytes": peaks, "untouched_peak_bytes": untouched, "growth": growth},
        options.save,
    )


if __name__ == "__main__":
    main()
