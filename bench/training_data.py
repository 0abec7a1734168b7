"""How long does a large training set take to read, and how much memory? Random oligos, in a process of its
own.

Writes a Parquet file of N oligos with expression, then a child process reads it as `legscore train` does
(adapters checked, windows built, folds hashed, duplicates counted, content hashed) and draws batches; its
peak memory and its times are reported. Expected: 30 million in under 6 GB, most of it the memory-mapped
windows (4.5 GB), at 0.5 million rows a second or more, and under 3 ms for a batch of 1,024.

    python bench/training_data.py [--rows 30000000] [--save]
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import arguments, finish

CHILD = """
import json, resource, sys, time
from legscore.system.allocator import keep_freed_parts
from legscore.train.columns import DataOptions
from legscore.train.data import read_training_data
from legscore.train.presets import resolve
from legscore.train.sampler import Sampler
keep_freed_parts()
recipe = resolve("noginet")
started = time.perf_counter()
data = read_training_data(sys.argv[1], recipe.contract(), DataOptions(), None)
read = time.perf_counter() - started
sampler = Sampler(len(data), 1024, 1, "both")
started = time.perf_counter()
sampler.draw(0)
first = time.perf_counter() - started
started = time.perf_counter()
for step in range(1, 201):
    rows, reverse, shifts = sampler.draw(step)
    data.codes_NL[rows], data.expression_N[rows], data.singleton_N[rows]
batch = (time.perf_counter() - started) / 200
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
print(json.dumps({"rows": len(data), "read_s": read, "first_draw_s": first, "batch_s": batch,
                  "peak_bytes": peak, "mapped_bytes": data.codes_NL.nbytes,
                  "duplicates": data.report["duplicate_windows"]}))
"""


def write(path: Path, rows: int, step: int = 500_000) -> None:
    """Oligos with both adapters, expressions 0-17 with two decimals (so that some are whole)."""
    rng = np.random.default_rng(0)
    five, three = b"TGCATTTTTTTCACATC", b"GGTTACGGCTGTT"
    letters = np.frombuffer(b"ACGT", dtype=np.uint8)
    schema = pa.schema([("sequence", pa.string()), ("expression", pa.float32())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, step):
            n = min(step, rows - start)
            text = np.empty((n, 110), dtype=np.uint8)
            text[:, :17], text[:, 97:] = (
                np.frombuffer(five, dtype=np.uint8),
                np.frombuffer(three, dtype=np.uint8),
            )
            text[:, 17:97] = letters[rng.integers(0, 4, (n, 80), dtype=np.uint8)]
            offsets = pa.py_buffer(np.arange(0, 110 * (n + 1), 110, dtype=np.int32))
            sequences = pa.StringArray.from_buffers(n, offsets, pa.py_buffer(text))
            expression = pa.array(np.round(rng.uniform(0, 17, n), 2).astype(np.float32))
            writer.write_table(pa.table([sequences, expression], schema=schema))


def main() -> None:
    options = arguments(__doc__ or "", rows=30_000_000)
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "measured.parquet"
        write(path, options.rows)
        ran = subprocess.run(
            [sys.executable, "-c", CHILD, str(path)], capture_output=True, text=True, check=True
        )
    result = json.loads(ran.stdout)
    print(
        f"{result['rows']:,} sequences read in {result['read_s']:.0f} s "
        f"({result['rows'] / result['read_s'] / 1e6:.2f} M/s), "
        f"peak memory {result['peak_bytes'] / 2**30:.2f} GiB ({result['mapped_bytes'] / 2**30:.2f} of it "
        "mapped windows)\n"
        f"first draw {result['first_draw_s']:.2f} s, then {result['batch_s'] * 1e3:.2f} ms for a batch "
        "of 1,024"
    )
    finish("training_data", result, options.save)


if __name__ == "__main__":
    main()
