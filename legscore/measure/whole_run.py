"""Time whole runs, from Parquet to Parquet, against the engine alone: what everything around scoring costs.

Both score the same random windows in the same parts; scores are compared before times mean anything. The run
is the whole of `legscore.run.job.score` with an engine that is open already for the engine alone, so that
"whole" also holds opening one.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from legscore.dna.contract import Contract
from legscore.engine.base import Engine
from legscore.engine.choose import Request
from legscore.engine.open_engine import open_engine
from legscore.errors import EngineError
from legscore.model.ensemble import open_members
from legscore.rows.schema import KINDS
from legscore.rows.window import Windower
from legscore.run.job import score
from legscore.run.options import Options
from legscore.run.plan import part_rows
from legscore.run.stream import in_flight

KINDS_OF_TABLE = ("sequence", "pair", "saturation")


@dataclass(frozen=True)
class WholeRun:
    """Seconds of each round, on the clock and of all cores (`_cpu_s`). `of_engine` is the share of the
    engine's own rate that a run keeps, `of_engine_opened` counts opening the engine too; `of_engine_cpu` is
    the engine's share of the run's core seconds, which neither other programs nor waiting change."""

    rows: int
    windows: int
    members: int
    engine_s: list[float]
    run_s: list[float]
    whole_s: list[float]
    engine_cpu_s: list[float]
    run_cpu_s: list[float]

    @property
    def of_engine_cpu(self) -> float:
        return statistics.median(self.engine_cpu_s) / statistics.median(self.run_cpu_s)

    @property
    def of_engine(self) -> float:
        return statistics.median(self.engine_s) / statistics.median(self.run_s)

    @property
    def of_engine_opened(self) -> float:
        return statistics.median(self.engine_s) / statistics.median(self.whole_s)

    @property
    def windows_per_s(self) -> float:
        return self.windows / statistics.median(self.run_s)


def random_table(contract: Contract, windows: int, kind: str = "sequence", seed: int = 0) -> pa.Table:
    """Inserts that ask for `windows` distinct windows: as sequences, as pairs that differ in one base, or as
    every single-base change of fewer inserts."""
    rng, width = np.random.default_rng(seed), contract.insert_max
    bases = np.frombuffer(b"AGCT", np.uint8)

    def texts(codes_NL: np.ndarray) -> pa.Array:
        offsets = np.arange(len(codes_NL) + 1, dtype=np.int32) * width
        data = np.ascontiguousarray(bases[codes_NL])
        return pa.StringArray.from_buffers(len(codes_NL), pa.py_buffer(offsets), pa.py_buffer(data))

    if kind == "sequence":
        codes = rng.integers(0, 4, (windows, width))
        return pa.table({"id": np.arange(windows), "sequence": texts(codes)})
    if kind == "pair":
        ref = rng.integers(0, 4, (windows // 2, width))
        alt = ref.copy()
        at = rng.integers(0, width, len(ref))
        alt[np.arange(len(ref)), at] = (alt[np.arange(len(ref)), at] + rng.integers(1, 4, len(ref))) % 4
        return pa.table({"id": np.arange(len(ref)), "ref_sequence": texts(ref), "alt_sequence": texts(alt)})
    if kind != "saturation":
        raise ValueError(f"kind is {kind!r}; known are {', '.join(KINDS_OF_TABLE)}")
    inserts = max(1, windows // (3 * width + 1))
    codes = rng.integers(0, 4, (inserts, width))
    which = np.repeat(np.arange(inserts, dtype=np.int32), 3 * width)
    offset = np.tile(np.repeat(np.arange(width), 3), inserts)
    alt = (codes[which, offset] + np.tile([1, 2, 3], inserts * width)) % 4
    letters = pa.DictionaryArray.from_arrays(pa.array(alt.astype(np.int8)), pa.array(list("AGCT")))
    columns = {
        "sequence": pa.DictionaryArray.from_arrays(pa.array(which), texts(codes)),
        "offset": offset,
        "alt_base": letters,
    }
    return pa.table({"id": np.arange(len(which)), **columns})


def whole_run(
    models: Sequence[str | Path],
    windows: int,
    *,
    kind: str = "sequence",
    rounds: int = 3,
    request: Request | None = None,
    tick: Callable[[], object] = lambda: None,
) -> WholeRun:
    """Time the engine alone and the whole run in turn.

    Raises:
        EngineError: the run's scores are not the engine's; no timing of wrong numbers.
    """
    request = request or Request()
    members = open_members([str(model) for model in models], True, lambda line: None)
    rc = "construct" if members[0].contract.rc_trained else "none"
    table = random_table(members[0].contract, windows, kind)
    engine = open_engine(members, replace(request, both_strands=rc == "construct"))
    options: dict[str, Any] = {
        "models": [str(model) for model in models], "engine": request.engine, "precision": request.precision,
        "recipe": request.recipe, "device": request.device, "null_rate": request.null_rate,
        "allow_duplicates": True, "sequence_is": "insert",
    }  # fmt: skip
    try:
        with tempfile.TemporaryDirectory() as folder:
            source, out = f"{folder}/in.parquet", f"{folder}/out.parquet"
            pq.write_table(table, source)
            return _timed(
                engine,
                table,
                source,
                out,
                Windower(members[0].contract, KINDS[_row_kind(kind)], "insert", rc),
                options,
                rounds,
                tick,
            )
    finally:
        engine.close()


def _row_kind(kind: str) -> str:
    return "edit" if kind == "saturation" else kind


def _timed(
    engine: Engine,
    table: pa.Table,
    source: str,
    out: str,
    windower: Windower,
    options: dict[str, Any],
    rounds: int,
    tick: Callable[[], object],
) -> WholeRun:
    step = part_rows(engine.n_members, engine.name)
    columns = [name for name in table.column_names if name != "id"]
    made = [
        windower({name: table[name].slice(i, step).combine_chunks() for name in columns})
        for i in range(0, table.num_rows, step)
    ]
    n_windows = sum(windows.batch.n_windows for windows in made)
    engine.score(
        replace(
            made[0].batch,
            codes_WL=made[0].batch.codes_WL[:64],
            window_E=made[0].batch.window_E[:0],
            offset_E=made[0].batch.offset_E[:0],
            base_E=made[0].batch.base_E[:0],
        )
    )
    seconds: dict[str, list[float]] = {"engine": [], "run": [], "whole": [], "engine_cpu": [], "run_cpu": []}
    half = (len(made) + 1) // 2

    def alone(windows: Sequence[Any]) -> tuple[list[np.ndarray], float, float]:
        started, cpu = time.perf_counter(), time.process_time()
        scores = [
            found for _, found in in_flight(iter(w.batch for w in windows), engine.submit, engine.depth)
        ]
        return scores, time.perf_counter() - started, time.process_time() - cpu

    # half of the engine's turn before the run and half after: a slow drift of the machine cancels
    for _ in range(rounds):
        before, before_s, before_cpu_s = alone(made[:half])
        started, cpu = time.perf_counter(), time.process_time()
        record = score(Options([source], out, force=True, **options))
        seconds["whole"].append(time.perf_counter() - started)
        seconds["run_cpu"].append(time.process_time() - cpu)
        seconds["run"].append(record["seconds"])
        tick()
        after, after_s, after_cpu_s = alone(made[half:])
        seconds["engine"].append(before_s + after_s)
        seconds["engine_cpu"].append(before_cpu_s + after_cpu_s)
        tick()
        _check(pq.read_table(out), made, before + after)
    return WholeRun(table.num_rows, n_windows, engine.n_members, *seconds.values())


def _check(found: pa.Table, made: Sequence[Any], scores: Sequence[np.ndarray]) -> None:
    name = "score" if "score" in found.column_names else "effect"
    expected = []
    for windows, scores_MW in zip(made, scores, strict=True):
        values = scores_MW[:, windows.index_NKS[:, :, 0]].astype(np.float64)
        expected.append((values[..., -1] - (values[..., 0] if name == "effect" else 0.0)).mean(axis=0))
    if not (np.concatenate(expected).astype(np.float32) == found[name].to_numpy()).all():
        raise EngineError("the run's scores differ from the engine's; no timing of wrong numbers")
