"""Four calls that use fifteen minutes on a lent GPU, most valuable first.

Each step is a part of gpu.py in a process of its own, with seconds of its own, after which it is ended: a
card that hangs or a kernel that faults costs that step alone. Results are written after every row and
copied out after every step. A call also does what earlier calls left open.

    1  kernels bit for bit; engine torch against FP32; its rates
    2  the pipeline on PyCUDA's streams; a faulting kernel; ensembles on engine torch
    3  what is open; PyTorch as it is
    4  TensorRT from the bundle: one member, forms and batches, ensembles
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_bundle import environment, take_pieces, unpack
from gpu_store import RESULTS, add

from legscore.cuda.libcuda import Gpu

SPARE_S = 4.0
"""Between the end that a step is told and its being ended from outside."""


@dataclass(frozen=True)
class Step:
    """A part, how long it may take, and whether the bundle's Python runs it."""

    part: str
    seconds: float
    bundled: bool = False


CALLS: dict[int, tuple[Step, ...]] = {
    1: (Step("kernels", 40), Step("torch-right", 45), Step("torch-rates", 75)),
    2: (Step("streams", 40), Step("fault", 30), Step("torch-ensembles", 45)),
    3: (Step("torch-plain", 60),),
    4: (
        Step("tensorrt-first", 90, True),
        Step("tensorrt-forms", 150, True),
        Step("tensorrt-ensembles", 75, True),
    ),
}
LEFT_OPEN_S = {2: 60.0, 3: 90.0, 4: 0.0}
"""Seconds that a call may spend on what earlier ones left open."""


@dataclass(frozen=True)
class Places:
    """Folders of a call: where results leave, what stays on the machine between calls, what came along."""

    results: Path
    store: Path
    carried: Path

    @property
    def kept(self) -> Path:
        """Results of all calls so far."""
        return self.store / "results"


def run_call(
    number: int, gpu: Gpu, places: Places, more: list[str], run: Callable[..., Any] = subprocess.run
) -> int:
    """Run a call's steps; returns how many of them failed.

    Args:
        more: options that every step gets.
        run: starts a step's process.
    """
    missing = take_pieces(places.carried, places.store)
    print(f"call {number}: pieces missing: {', '.join(missing) or 'none'}", flush=True)
    steps = [(step, step.seconds) for step in CALLS[number]]
    steps += [(step, 0.0) for step in left_open(number, places.kept)]
    spare = LEFT_OPEN_S.get(number, 0.0)
    if number == 3:  # what is open comes first, since the call is there for it
        steps = steps[1:] + steps[:1]
    failed = 0
    for step, seconds in steps:
        allowed = seconds or min(step.seconds, spare)
        if allowed <= SPARE_S:
            continue
        started = time.monotonic()
        reason = _one(step, allowed, gpu, places, more, run)
        spare -= 0.0 if seconds else time.monotonic() - started
        failed += bool(reason)
        print(
            f"call {number}: {step.part} {reason or 'done'} ({time.monotonic() - started:.0f} s)", flush=True
        )
        for path in places.kept.glob("*.json"):
            places.results.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, places.results / path.name)
    return failed


def left_open(number: int, kept: Path) -> list[Step]:
    """Steps of earlier calls that have no entry, failed, or did not reach their end."""
    done: dict[str, Any] = {}
    for path in kept.glob("*.json"):
        done |= json.loads(path.read_text()).get("parts", {})
    earlier = [step for call in range(1, number) for step in CALLS[call]]
    return [
        step for step in earlier
        if step.part not in done or done[step.part].get("failed") or done[step.part].get("not_reached")
    ]  # fmt: skip


def _one(
    step: Step, seconds: float, gpu: Gpu, places: Places, more: list[str], run: Callable[..., Any]
) -> str:
    """Run a step; why it failed, or nothing. A failure is kept in the results beside the rows it had."""
    script = Path(__file__).with_name("gpu.py")
    command = [sys.executable, str(script)]
    variables = None
    if step.bundled:
        try:
            folder = unpack(places.store)
        except SystemExit as error:
            return _failed(step, gpu, places, str(error))
        command[0], variables = str(folder / "python/bin/python3.10"), environment(folder)
    command += [
        "--part",
        step.part,
        "--results",
        str(places.kept),
        "--seconds",
        str(seconds - SPARE_S),
        *more,
    ]
    try:
        ended = run(command, timeout=seconds, env=variables, check=False)
    except subprocess.TimeoutExpired:
        return _failed(step, gpu, places, f"ended after {seconds:.0f} s")
    return _failed(step, gpu, places, f"exit code {ended.returncode}") if ended.returncode else ""


def _failed(step: Step, gpu: Gpu, places: Places, reason: str) -> str:
    entry = {"rows": []}
    for path in places.kept.glob("*.json"):
        entry = json.loads(path.read_text()).get("parts", {}).get(step.part, entry)
    add(places.kept, gpu, step.part, {**entry, "failed": reason})
    return reason


def default_places(results: str, store: str, carried: str) -> Places:
    return Places(Path(results) if results else RESULTS, Path(store), Path(carried))
