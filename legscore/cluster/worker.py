"""What runs in an actor: a plan opened once, with its compiled ensemble, and parts scored and kept one after
the other.

An actor has a process of its own. It reads the input itself, by path, and keeps results where the driver will
find them; only a few numbers a part travel. What goes wrong comes back as a value: Refused ends the run as it
would on one machine, Fault is tried again.
"""

from __future__ import annotations

import contextlib
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.cluster.placeholder import EngineSummary
from legscore.errors import EngineError, LegscoreError, WrongScoresError
from legscore.measure.dry_run import Expected, expect
from legscore.output.parts import PartFolder
from legscore.output.remote_parts import open_store
from legscore.run.dataset import write_file
from legscore.run.options import Options
from legscore.run.pipeline import scored_elsewhere
from legscore.run.plan import Plan
from legscore.run.prepare import prepared
from legscore.run.resume import fingerprint
from legscore.run.verify import Compared
from legscore.system.allocator import give_back_freed_parts
from legscore.system.cores import take_cores, use_threads
from legscore.system.json_records import difference
from legscore.version import __version__

SHOWN = ("engine:", "precision:", "fidelity:", "gpu:", "plan", "members:")
"""Decisions of an actor that the driver repeats; it makes the others itself."""


@dataclass(frozen=True)
class Ready:
    """An actor that can score: where it is, its engine, and what the bytes that it will keep depend on."""

    host: str
    pid: int
    cores: list[int]
    engine: EngineSummary
    record: dict[str, Any]
    said: list[str]
    seconds: float


@dataclass(frozen=True)
class PartDone:
    """A part was kept (or a file of the output written): its rows, and the seconds since the last one of the
    task, and the scores verified since then."""

    number: int
    rows: int
    seconds: float
    compared: Compared


@dataclass(frozen=True)
class Refused:
    """The run must end with this line: a wrong input, option, output or score."""

    error: str
    wrong_scores: bool = False


@dataclass(frozen=True)
class Fault:
    """A part could not be scored this time."""

    error: str


def versions() -> dict[str, str]:
    """Versions of the packages that read, compute and write; they must be equal on all machines of a run."""
    python = ".".join(platform.python_version_tuple()[:2])
    return {"legscore": __version__, "python": python, "pyarrow": pa.__version__, "numpy": np.__version__}


class Scorer:
    """The actor. Making one does no work, so that errors can be returned; `open` does the work."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self._plan: Plan | None = None
        self._seen: set[str] = set()

    def open(
        self,
        given: Mapping[str, Any],
        expected: Mapping[str, str],
        n_cores: int,
        environment: Mapping[str, str],
    ) -> Ready | Refused | Fault:
        """Open a job on `n_cores` cores of this machine (0: all).

        Args:
            given: `options`, the fields of `legscore.run.options.Options`; `derived_input`; and `cascade`,
                what a student's pass left, or None.
            expected: versions of the driver; others are refused.
            environment: where object stores are and who may use them.
        """
        os.environ.update(environment)
        started, host = time.perf_counter(), platform.node()
        if found := difference(dict(expected), versions(), words=("is", "here and")):
            return Refused(
                f"worker on {host} and this process differ: {found} there; install the same versions on both"
            )
        said: list[str] = []
        try:
            cores = take_cores(n_cores) if n_cores else []
            if n_cores:
                use_threads(len(cores) or n_cores)
            options = Options(**given["options"])
            if options.engine != "torch":
                give_back_freed_parts()
            plan = self._stack.enter_context(prepared(options, said.append, cascade=given["cascade"]))
            record = fingerprint(
                plan.opened,
                plan.metadata,
                plan.schema,
                plan.output,
                plan.format_name,
                derived_input=given["derived_input"],
            )
        except LegscoreError as error:
            return Refused(f"worker on {host}: {error}")
        except Exception as error:
            # whatever a broken machine raises: told once, then it counts as a start that failed
            return Fault(f"worker on {host}: {_line(error)}")
        self._plan = plan
        engine = plan.engine
        summary = EngineSummary(
            engine.name,
            engine.precision,
            engine.n_members,
            engine.n_beside,
            engine.depth,
            engine.describe(),
            engine.fidelity,
        )
        shown = [line for line in said if line.startswith(SHOWN)]
        return Ready(host, os.getpid(), cores, summary, record, shown, time.perf_counter() - started)

    def score(self, place: str, parts: range) -> Iterator[PartDone | Refused | Fault]:
        """Score these neighbouring parts and keep them at `place`; one value a part, in order."""
        yield from self._answers(place, parts, self._scored)  # Ray streams from generator functions only

    def write(self, place: str, files: range) -> Iterator[PartDone | Refused | Fault]:
        """Write these files of the output, which is a folder, from parts at `place`; one value a file, in
        order."""
        yield from self._answers(place, files, self._written)

    def _answers(
        self, place: str, numbers: range, work: Callable[[Plan, PartFolder, range], Iterator[PartDone]]
    ) -> Iterator[PartDone | Refused | Fault]:
        host, plan = platform.node(), self._plan
        if plan is None:
            yield Fault(f"worker on {host} was started anew and is not open yet")
            return
        try:
            store = open_store(place)
            if place not in self._seen:
                store.check_begun(host)
                self._seen.add(place)
            yield from work(plan, store, numbers)
        except WrongScoresError as error:
            yield Refused(f"worker on {host}: {error}", wrong_scores=True)
        except EngineError as error:  # an engine that gives up: another machine may do better
            yield Fault(f"worker on {host}: {error}")
        except LegscoreError as error:
            yield Refused(f"worker on {host}: {error}")
        except Exception as error:  # crosses to the driver, which tries again and then names it
            yield Fault(f"worker on {host}: {_line(error)}")

    def _scored(self, plan: Plan, store: PartFolder, parts: range) -> Iterator[PartDone]:
        last = time.perf_counter()
        with contextlib.closing(scored_elsewhere(plan, store, parts)) as tables:
            for number, table in zip(parts, tables, strict=True):
                now = time.perf_counter()
                compared = plan.verifier.take() if plan.verifier else Compared()
                yield PartDone(number, table.num_rows, now - last, compared)
                last = now

    def _written(self, plan: Plan, store: PartFolder, files: range) -> Iterator[PartDone]:
        for number in files:
            last = time.perf_counter()
            rows = write_file(plan, store, number)
            yield PartDone(number, rows, time.perf_counter() - last, Compared())

    def measure(self, seconds: float) -> Expected | Refused:
        """What a run of this job would do, measured by this actor."""
        assert self._plan is not None, "open comes first"
        try:
            return expect(self._plan, seconds)
        except LegscoreError as error:
            return Refused(f"worker on {platform.node()}: {error}")

    def close(self) -> None:
        """Let go of the engine."""
        self._plan = None
        self._stack.close()


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:300]}"
