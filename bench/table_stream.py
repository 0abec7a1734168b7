"""Does memory grow with the length of a stream? Peak resident memory of `legscore.score_table` over streams
of few and many rows, with the null engine.

Each run is a process of its own, which makes distinct 80-bp inserts a batch at a time, scores them as a
stream and lets go of each batch of results. Rows that come out are counted first. Expected: within 5 %.
`score` and `effects` of a loaded ensemble are not measured: what they return is as long as the input.

    python bench/table_stream.py [--rows 100000,1000000,10000000] [--rounds 1] [--save]
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Iterator

from machine import arguments, finish

BATCH = 10_000
LENGTH = 80


def stream(rows: int) -> None:
    """Score a stream of `rows` rows, and print what it took."""
    import numpy as np
    import pyarrow as pa

    import legscore

    schema = pa.schema({"id": pa.int64(), "sequence": pa.string()})
    rng = np.random.default_rng(rows)
    ends = pa.py_buffer(np.arange(0, (BATCH + 1) * LENGTH, LENGTH, dtype=np.int32))

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, rows, BATCH):
            letters = np.frombuffer(b"AGCT", np.uint8)[rng.integers(0, 4, BATCH * LENGTH, dtype=np.uint8)]
            texts = pa.Array.from_buffers(pa.string(), BATCH, [None, ends, pa.py_buffer(letters)])
            yield pa.record_batch([pa.array(np.arange(start, start + BATCH)), texts], schema=schema)

    began = time.perf_counter()
    reader = legscore.score_table(pa.RecordBatchReader.from_batches(schema, batches()), engine="null")
    found = sum(batch.num_rows for batch in reader)
    if found != rows:
        raise SystemExit(f"{found} rows came out of {rows}; no measurement of wrong output")
    print(f"{rows:>10,} rows: {rows / (time.perf_counter() - began):,.0f} a second")


def peak_bytes(rows: int) -> int:
    """Peak resident memory of a process that scores a stream."""
    pid = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, __file__, "--child", str(rows)])
    _, status, usage = os.wait4(pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(f"failed: {rows} rows")
    return int(usage.ru_maxrss) * 1024


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        stream(int(sys.argv[2]))
        return
    options = arguments(__doc__ or "", rows="100000,1000000,10000000", rounds=1)
    sizes = [int(word) for word in options.rows.split(",")]
    peaks: dict[int, list[int]] = {rows: [] for rows in sizes}
    for _ in range(options.rounds):
        for rows in sizes:
            peaks[rows].append(peak_bytes(rows))
    median = {rows: statistics.median(found) for rows, found in peaks.items()}
    growth = {rows: median[sizes[-1]] / median[rows] - 1 for rows in sizes[:-1]}
    for rows in sizes:
        print(f"{rows:>10,} rows: peak {median[rows] / 2**20:7.1f} MiB")
    for rows, share in growth.items():
        print(f"growth from {rows:,} to {sizes[-1]:,} rows: {100 * share:+.1f} %")
    finish("table_stream", {"rows": sizes, "peak_bytes": peaks, "growth": growth}, options.save)


if __name__ == "__main__":
    main()
