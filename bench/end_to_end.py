"""What do reading, windowing and writing cost? From Parquet to Parquet against the engine alone.

20,000 random distinct windows (inserts of 80 bp), one member, both strands. The engine alone scores the same windows in the
same parts; then the whole pipeline runs with the same engine settings. Scores are compared before times. Expected: ≥ 0.93.

    python bench/end_to_end.py [--windows 20000] [--rounds 3] [--model FILE] [--save]
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import arguments, finish

from legscore.engine.choose import Request, open_engine
from legscore.job import Options, open_members, score
from legscore.pipeline import part_rows
from legscore.schema import KINDS
from legscore.stream import in_flight
from legscore.window import Windower


def main() -> None:
    options = arguments(__doc__ or "", windows=20_000, rounds=3, model="")
    models = [options.model] if options.model else []
    members = open_members(models, False, lambda line: None)
    letters = np.frombuffer(b"AGCT", np.uint8)[np.random.default_rng(0).integers(0, 4, (options.windows, 80))]
    table = pa.table({"id": np.arange(options.windows), "sequence": [row.tobytes().decode() for row in letters]})
    engine = open_engine(members, Request(), print)
    windower = Windower(members[0].contract, KINDS["sequence"], "insert")
    step = part_rows(len(members))
    batches = [
        windower({"sequence": table["sequence"].slice(i, step).combine_chunks()}).batch for i in range(0, len(table), step)
    ]
    assert sum(batch.n_windows for batch in batches) == options.windows, "the random windows are not distinct"

    def alone() -> np.ndarray:
        return np.concatenate([scores[0] for _, scores in in_flight(iter(batches), engine.submit, engine.depth)])

    seconds: dict[str, list[float]] = {"engine alone": [], "pipeline": [], "whole command": []}
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "in.parquet", Path(folder) / "out.parquet"
        pq.write_table(table, source)
        engine.score(batches[0].__class__(batches[0].codes_WL[:512]))
        for _ in range(options.rounds):
            started = time.perf_counter()
            expected = alone()
            seconds["engine alone"].append(time.perf_counter() - started)
            started = time.perf_counter()
            record = score(Options([str(source)], str(out), models))
            seconds["whole command"].append(time.perf_counter() - started)
            seconds["pipeline"].append(record["seconds"])
            if not (np.array(pq.read_table(out)["score"]) == expected).all():
                raise SystemExit("the pipeline's scores differ from the engine's; no timing of wrong numbers")
    engine.close()
    median = {name: statistics.median(taken) for name, taken in seconds.items()}
    for name, taken in median.items():
        print(f"{name:16s} {options.windows / taken:8.1f} windows/s  {median['engine alone'] / taken:6.3f} of the engine alone")
    result = {"windows": options.windows, "seconds": seconds, "of_engine": median["engine alone"] / median["pipeline"]}
    finish("end_to_end", {**result, "whole_command_of_engine": median["engine alone"] / median["whole command"]}, options.save)


if __name__ == "__main__":
    main()
