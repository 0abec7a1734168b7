"""A pool of scoring actors on Ray: started, given work, replaced when they die, and counted.

Ray places the actors and tells when one has died; then another takes its place, wherever Ray has room. (Ray's
own restarts refuse calls until the actor is back, and count no failures in a row.) Which part goes where, and
how often, is decided by `schedule.py`. At most one task is under way in an actor.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from legscore.cluster.connect import capacity
from legscore.cluster.options import ClusterOptions
from legscore.cluster.schedule import Schedule
from legscore.cluster.worker import Fault, PartDone, Ready, Refused, Scorer, versions
from legscore.errors import ClusterError, WrongScoresError
from legscore.measure.dry_run import Expected
from legscore.system.storage import environment

POLL_S = 1.0
START_S = 900.0
"""How long to wait while no actor at all is open: machines may have to be started first."""
GROW_S = 10.0
FAILED_STARTS = 3
"""Starts in a row that may fail before an actor is given up."""


@dataclass
class Actor:
    """One actor of the pool and what it did. `task` is what Ray will answer; `parts` those that the answer is
    about."""

    number: int
    name: str
    handle: Any = None
    task: Any = None
    parts: range | None = None
    ready: Ready | None = None
    failed_starts: int = 0
    deaths: int = 0
    rows: int = 0
    n_parts: int = 0
    busy_s: float = 0.0
    since: float = 0.0
    until: float = 0.0
    open_s: float = 0.0

    def open_for(self, now: float) -> float:
        """Seconds from when it was first ready to its end, or to now."""
        return max((self.until or now) - self.since, 1e-9)


OnPart = Callable[[Actor, PartDone], object]
OnFault = Callable[[str, int | None, str], object]


class Pool:
    """The actors of a run."""

    def __init__(
        self, ray: Any, options: ClusterOptions, job: Mapping[str, Any], memory: int | None, on_fault: OnFault
    ) -> None:
        """Start the actors.

        Args:
            job: what each actor opens (`legscore.cluster.drive.worker_job`).
            memory: bytes that Ray sets aside for each, or None.
            on_fault: called with the actor, the part blamed (None: a start) and the reason.
        """
        self._ray, self._options, self._job, self._on_fault = ray, options, dict(job), on_fault
        given: dict[str, Any] = {"num_cpus": options.num_cpus, "max_restarts": 0, "max_task_retries": 0}
        if options.num_gpus:
            given["num_gpus"] = options.num_gpus
        if memory is not None:
            given["memory"] = memory
        self._class = ray.remote(Scorer).options(**given)
        self.actors: list[Actor] = []
        self._left: list[Actor] = []
        self._checked: set[int] = set()
        self._looked = time.monotonic()
        for _ in range(options.workers or max(1, capacity(ray, options))):
            self._add()

    @property
    def everyone(self) -> list[Actor]:
        """Also those that were given up."""
        return [*self.actors, *self._left]

    def _add(self) -> None:
        number = len(self.everyone)
        actor = Actor(number, f"worker {number}")
        self.actors.append(actor)
        self._open(actor)

    def _open(self, actor: Actor) -> None:
        """A process for this actor, new or in a dead one's place."""
        actor.ready, actor.parts, actor.handle = None, None, self._class.remote()
        cores = 0 if self._options.num_gpus else self._options.num_cpus
        actor.task = actor.handle.open.remote(self._job, versions(), cores, environment())

    def first_ready(self) -> Ready:
        """Wait for the first actor that is open. ClusterError when none can be."""
        ends = time.monotonic() + START_S
        while True:
            for actor in self._answered():
                self._take_opened(actor)
            for actor in self.actors:
                if actor.ready:
                    return actor.ready
            self._check_alive(ends)

    def measure(self, seconds: float) -> Expected:
        """What the run would do, by the first actor that is open."""
        self.first_ready()
        actor = next(actor for actor in self.actors if actor.ready)
        try:
            answer: Expected | Refused = self._ray.get(actor.handle.measure.remote(seconds))
        except self._ray.exceptions.RayError as error:
            raise ClusterError(f"{actor.name}: {described(error)}") from error
        if isinstance(answer, Refused):
            raise ClusterError(answer.error)
        return answer

    def _check_alive(self, ends: float) -> None:
        if not self.actors:
            raise ClusterError("no worker could be started; the warnings above say why")
        if time.monotonic() > ends:
            asked = f"{self._options.num_cpus} CPUs" + (
                f" and {self._options.num_gpus:g} GPUs" if self._options.num_gpus else ""
            )
            raise ClusterError(
                f"the cluster had no room for a worker ({asked}) within {START_S / 60:.0f} minutes; ask "
                "for less"
            )

    def _answered(self) -> list[Actor]:
        """Actors whose task has an answer."""
        by_task = {actor.task: actor for actor in self.actors if actor.task is not None}
        if not by_task:
            time.sleep(POLL_S)
            return []
        found, _ = self._ray.wait(list(by_task), num_returns=1, timeout=POLL_S)
        if found and len(by_task) > 1:
            found, _ = self._ray.wait(list(by_task), num_returns=len(by_task), timeout=0)
        return [by_task[task] for task in found]

    def _take_opened(self, actor: Actor) -> None:
        """The answer of `open`: the actor is ready, tries again, or is given up. Refusals end the run."""
        answer: Ready | Refused | Fault
        try:
            answer = self._ray.get(actor.task)
        except self._ray.exceptions.RayError as error:
            answer = Fault(described(error))
        actor.task = None
        if isinstance(answer, Refused):
            raise ClusterError(answer.error)
        if isinstance(answer, Ready):
            actor.ready, actor.failed_starts, actor.name = answer, 0, f"{answer.host}:{answer.pid}"
            actor.open_s += answer.seconds
            actor.since = actor.since or time.monotonic()
            return
        actor.failed_starts += 1
        self._ray.kill(actor.handle)
        self._on_fault(actor.name, None, answer.error)
        if actor.failed_starts < FAILED_STARTS:
            self._open(actor)
        else:
            self.drop(actor)

    def drop(self, actor: Actor) -> None:
        """End an actor; its resources are free again."""
        self._ray.kill(actor.handle)
        actor.task, actor.until = None, time.monotonic()
        self.actors.remove(actor)
        self._left.append(actor)

    def run(
        self,
        schedule: Schedule,
        place: str,
        check: Callable[[Ready], object],
        on_part: OnPart,
        task: str = "score",
        *,
        last: bool = True,
    ) -> None:
        """Run every part of the schedule, except those that are given up.

        Args:
            place: where parts are kept.
            check: raises when an actor that is ready does not fit the run.
            on_part: called for each part that was kept.
            task: method of the actors that does parts.
            last: nothing comes after; actors for which nothing is left are ended, so that a cluster can
                shrink.

        Raises:
            ClusterError, WrongScoresError: the run cannot go on.
        """
        ends = time.monotonic() + START_S
        while schedule.waiting or any(actor.parts for actor in self.actors):
            for actor in list(self.actors):
                if actor.task is None and actor.ready:
                    if actor.ready.pid not in self._checked:
                        check(actor.ready)
                        self._checked.add(actor.ready.pid)
                    if (parts := schedule.take(len(self.actors))) is None:
                        break
                    actor.parts = parts
                    actor.task = (
                        getattr(actor.handle, task).options(num_returns="streaming").remote(place, parts)
                    )
            for actor in self._answered():
                if actor.parts is None:
                    self._take_opened(actor)
                else:
                    self._take_part(actor, schedule, on_part)
            if any(actor.ready for actor in self.actors):
                ends = time.monotonic() + START_S
            self._check_alive(ends)
            self._grow(schedule)
            if last and not schedule.waiting:
                self._release()

    def _take_part(self, actor: Actor, schedule: Schedule, on_part: OnPart) -> None:
        answer: PartDone | Refused | Fault
        parts = actor.parts or range(0)
        died = False
        try:
            answer = self._ray.get(next(actor.task))
        except StopIteration:
            actor.task, actor.parts = None, None
            if parts:
                schedule.give_back(parts)
            return
        except self._ray.exceptions.RayError as error:
            answer, died = Fault(described(error)), True
        if isinstance(answer, Refused):
            raise WrongScoresError(answer.error) if answer.wrong_scores else ClusterError(answer.error)
        if isinstance(answer, PartDone):
            actor.busy_s += answer.seconds
            actor.parts = parts[1:]
            on_part(actor, answer)
            return
        schedule.failed(parts, answer.error)
        self._on_fault(actor.name, parts[0] if parts else None, answer.error)
        actor.deaths += 1
        if not died:  # a process in which something failed is not used again
            self._ray.kill(actor.handle)
        self._open(actor)

    def _grow(self, schedule: Schedule) -> None:
        """Where the number of actors was left open: one more when the cluster has grown."""
        if self._options.workers is not None or time.monotonic() - self._looked < GROW_S:
            return
        self._looked = time.monotonic()
        wanted = schedule.waiting > len(self.actors) and all(actor.ready for actor in self.actors)
        if wanted and capacity(self._ray, self._options, free=True) > 0:
            self._add()

    def _release(self) -> None:
        """End actors that nothing is left for, also those that wait for a machine, while others finish."""
        if any(actor.parts for actor in self.actors):
            for actor in [actor for actor in self.actors if not actor.parts]:
                self.drop(actor)

    def close(self) -> None:
        """End all actors."""
        for actor in list(self.actors):
            self.drop(actor)


def described(error: BaseException) -> str:
    """What Ray reports of an actor's death, in one line."""
    lines = [" ".join(line.split()) for line in str(error).splitlines()]
    kept = [
        line
        for line in lines
        if line and not line.startswith(("class_name", "actor_id", "namespace", "name:", "ip:"))
    ]
    return " ".join(kept)[:300] or type(error).__name__
