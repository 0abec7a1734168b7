"""What do reading, windowing, reducing, writing and keeping parts cost? From Parquet to Parquet against the
engine alone.

Random distinct windows (inserts of 80 bp), both strands, real engine: 100,000 windows with 1 member, 20,000
with 5, 1,000 with 50; pairs and saturation with one member; and the null engine on 1,000,000 rows, which
shows the ceiling of everything else. The engine alone and the whole run take turns (half the engine's turn
before, half after) on the same windows in the same parts; scores are compared before times. Beside the clock,
the core seconds of both: what everything but the engine costs. Members beyond the first are its weights with
noise. A setting of its own replaces that setting's result only. Expected: ≥ 0.95 of the engine alone at
100,000 × 1, ≥ 0.98 at 20,000 × 5; null ≥ 0.3 M rows/s.

    python bench/end_to_end.py [--real 20000x5,1000x1:pair] [--null 1000000x1] [--rounds 1] [--save]
    python bench/end_to_end.py --against PATH [--null 1000000x1] [--rounds 5] [--save]

With --against a checkout of other code, `legscore run` of the two takes turns with the null engine, as
processes; what they write is compared first (`end_to_end_against.json`). Expected: within 3 %.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from against import HERE, Job, compare
from machine import ORIGINAL, RESULTS, arguments, describe, family, finish
from safetensors import safe_open
from safetensors.numpy import save_file

from legscore.engine.choose import Request
from legscore.measure.whole_run import random_table, whole_run
from legscore.model.checkpoint import load_members

REAL = "100000x1,20000x5,1000x50,10000x1:pair,10000x1:saturation"
NULL = "1000000x1,1000000x5,1000000x50,1000000x1:pair,1000000x1:saturation"


def settings(text: str) -> list[tuple[int, int, str]]:
    """`20000x5:pair` → 20,000 windows, 5 members, rows that are pairs."""
    found = []
    for one in filter(None, text.split(",")):
        size, _, kind = one.partition(":")
        windows, _, members = size.partition("x")
        found.append((int(windows), int(members), kind or "sequence"))
    return found


def main() -> None:
    options = arguments(__doc__ or "", real=REAL, null=NULL, rounds=1, against="")
    if options.against:
        before_and_now(options)
        return
    wanted = [("auto", *one) for one in settings(options.real)] + [
        ("null", *one) for one in settings(options.null)
    ]
    before = (
        json.loads((RESULTS / "end_to_end.json").read_text())["runs"]
        if (RESULTS / "end_to_end.json").exists()
        else []
    )
    results = {(run["engine"], run["asked"], run["members"], run["kind"]): run for run in before}
    commit = describe()["commit"]
    with tempfile.TemporaryDirectory() as folder:
        for n in sorted({members for _, _, members, _ in wanted}):
            family(ORIGINAL, n, Path(folder) / str(n))
        for engine, windows, n, kind in wanted:
            run = whole_run(
                [f"{folder}/{n}"], windows, kind=kind, rounds=options.rounds, request=Request(engine=engine)
            )
            kept = (
                f"{run.of_engine:6.3f} of the engine, {run.of_engine_opened:6.3f} with opening, "
                f"{run.of_engine_cpu:6.3f} of cores"
            )
            kept = "" if engine == "null" else kept
            rows_per_s = run.rows / min(run.run_s)
            print(
                f"{engine:5s} {kind:10s} {run.windows:>9,} windows × {n:2d}: {run.windows_per_s:12,.1f} "
                "windows/s "
                f"{rows_per_s:12,.1f} rows/s {kept}",
                flush=True,
            )
            derived = {
                "of_engine": run.of_engine,
                "of_engine_cpu": run.of_engine_cpu,
                "of_engine_opened": run.of_engine_opened,
                "rows_per_s": rows_per_s,
            }
            found = {
                "engine": engine,
                "kind": kind,
                "asked": windows,
                "commit": commit,
                **asdict(run),
                **derived,
            }
            results[engine, windows, n, kind] = found
            if options.save:  # long runs: each is kept as it ends
                (RESULTS / "end_to_end.json").write_text(json.dumps({"runs": list(results.values())}))
    finish("end_to_end", {"runs": list(results.values())}, options.save)


def before_and_now(options: argparse.Namespace) -> None:
    """Runs of this checkout and another one, with the null engine."""
    with tempfile.TemporaryDirectory() as name:
        folder, jobs = Path(name), {}
        for windows, n, kind in settings(options.null):
            members = folder / f"models{n}"
            if not members.exists():
                both_read(Path(options.against) / ORIGINAL.relative_to(HERE), n, members)
            contract = load_members([members])[0].contract
            source = folder / f"{kind}-{windows}.parquet"
            pq.write_table(random_table(contract, windows, kind), source)

            def words(out: Path, source: Path = source, members: Path = members) -> tuple[object, ...]:
                run = ("-m", "legscore", "run", source, "-m", members, "--engine", "null", "-q")
                return (*run, "--sequence-is", "insert", "--allow-duplicates", "-o", out)

            jobs[f"{windows}x{n}:{kind}"] = Job(words, same)
        found = compare(jobs, options.against, folder, options.rounds)
    finish("end_to_end_against", found, options.save)


def both_read(path: Path, n: int, folder: Path) -> None:
    """n different members of the other checkout's model, as its code writes them: older code does not read
    what newer code adds."""
    with safe_open(path, "numpy") as stored:
        arrays, about = {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata()  # noqa: SIM118
    folder.mkdir()
    for i in range(n):
        scaled = {name: array * np.float32(1 + 0.01 * i) for name, array in arrays.items()}
        save_file(scaled, folder / f"member{i:02d}.safetensors", about)


def same(before: Path, now: Path) -> None:
    """SystemExit unless two outputs have the same rows, in the columns that both have."""
    tables = [pq.read_table(path) for path in (before, now)]
    shared = [name for name in tables[0].column_names if name in tables[1].column_names]
    texts = [[table[name].cast(pa.string()) for name in shared] for table in tables]
    if "status" not in shared or texts[0] != texts[1]:
        raise SystemExit("the two write other rows; no timing of wrong ones")


if __name__ == "__main__":
    main()
