"""Does scoring all changes in the promoters of a genome take flat memory?

Peak resident memory of `legscore run` with one model on the first 200,000 rows, on the first million, on all
of them (once and several times over), with the null engine; and with the real one on 2,000 and on 20,000
rows. Each run is started by a process of a few megabytes, since a child's peak begins with the size of the
process that forked it. Row counts of every output are checked first. Expected: all within 5 % of a million
rows; what does grow is the footer of the output, 0.5 MiB for a million rows.

    python bench/variants_memory.py --fasta genome.fa.gz --gtf genes.gtf.gz [--model FILE] [--times 3] \\
        [--rounds 3] [--save]
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
from machine import arguments, finish

from legscore.system.resources import folder
from legscore.variants.make import make
from legscore.variants.options import BuildOptions

FEW, MANY = 200_000, 1_000_000
REAL = (2_000, 20_000)
WATCH = """import os, sys
pid = os.spawnv(os.P_NOWAIT, sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(pid, 0)
print(usage.ru_maxrss * 1024)
sys.exit(os.waitstatus_to_exitcode(status))
"""


def peak_bytes(sources: list[Path], rows: int, model: Path, engine: list[str]) -> int:
    """Peak resident memory of a run; ends the script when its output lacks rows."""
    out = sources[0].with_name("out.parquet")
    named = [str(path) for path in sources]
    command = [
        sys.executable,
        "-m",
        "legscore",
        "run",
        *named,
        "-m",
        str(model),
        "-o",
        str(out),
        *engine,
        "-q",
        "--force",
    ]
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", WATCH, *command], stdout=subprocess.PIPE, text=True, check=True
    )
    if pq.read_metadata(out).num_rows != rows:
        raise SystemExit(f"{out} lacks rows; no measurement of wrong output")
    return int(done.stdout)


def head(source: Path, rows: int) -> Path:
    """The first rows in a file of their own, row groups as in the whole."""
    target = source.with_name(f"{rows}.parquet")
    with pq.ParquetFile(source) as file, pq.ParquetWriter(target, file.schema_arrow) as writer:
        left = rows
        for group in range(file.num_row_groups):
            table = file.read_row_group(group).slice(0, left)
            left -= table.num_rows
            if table.num_rows:
                writer.write_table(table, row_group_size=table.num_rows)
    return target


def main() -> None:
    first = sorted(Path(folder("bundled")).glob("*.safetensors"))[0]
    options = arguments(__doc__ or "", fasta="", gtf="", assume_utr=47, model=str(first), times=3, rounds=3)
    if not (options.fasta and options.gtf):
        raise SystemExit("give --fasta and --gtf")
    model = Path(options.model)
    with tempfile.TemporaryDirectory() as room:
        every = Path(room) / "every.parquet"
        built = BuildOptions(options.fasta, promoters=options.gtf, assume_utr=options.assume_utr)
        n = make(None, str(every), built, saturate=True).rows
        null = {rows: [head(every, rows)] for rows in (FEW, MANY)} | {
            n: [every],
            options.times * n: [every] * options.times,
        }
        real = {rows: [head(every, rows)] for rows in REAL}
        jobs = [("null", null, ["--engine", "null"], options.rounds), ("real", real, [], options.rounds)]
        peaks: dict[str, dict[int, list[int]]] = {
            name: {rows: [] for rows in inputs} for name, inputs, *_ in jobs
        }
        # measures the engine's fidelity once, which takes memory of its own
        peak_bytes(real[REAL[0]], REAL[0], model, [])
        for name, inputs, engine, rounds in jobs:
            for _ in range(rounds):
                for rows, sources in inputs.items():
                    peaks[name][rows].append(peak_bytes(sources, rows, model, engine))
    median = {
        name: {rows: statistics.median(found) for rows, found in kind.items()} for name, kind in peaks.items()
    }
    growth = {}
    for name, kind in median.items():
        base = kind[MANY if name == "null" else REAL[0]]
        for rows, value in kind.items():
            growth[f"{name} {rows}"] = value / base - 1
            print(
                f"{name} engine, {rows:>10,} rows: peak {value / 2**20:7.1f} MiB "
                f"({100 * (value / base - 1):+.1f} %)"
            )
    finish("variants_memory", {"peak_bytes": peaks, "growth": growth, "rounds": options.rounds}, options.save)


if __name__ == "__main__":
    main()
