"""What a run tells schedulers: events as JSON lines in a file, and warnings once per kind with counts.

One object a line, appended to those of earlier runs (a resumed run goes on in the same file), each with
`event`, `time` (ISO 8601, UTC) and `pid`:

    start    legscore, inputs, output, rows, parts, members, engine, shard
    resume   parts: how many are there already
    part     part, rows, rows_done, rows_total, resumed (from an interrupted run), seconds since the start
    retry    part, reason: it was damaged and is scored again; kind "worker": its worker failed (--ray)
    worker   host, process, cores, seconds it took to start, whether it takes the place of a dead one (--ray)
    warning  kind, message, the first of its kind
    finish   ok, exit_code, seconds, warnings {kind: count}; rows, status, rows_per_s, output, or error

`finish` is the last line of every run that ends by itself; a killed run has none. A run that makes two passes
(--shuffle-null) has two of `start`.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, TextIO

from legscore.errors import LegscoreError, LegscoreWarning, OutputError
from legscore.system.interrupts import interrupts_first
from legscore.system.publish import writing
from legscore.system.small_files import parse_json

Say = Callable[[str], object]
"""Takes one line of text for the user."""


class Detail(str):
    """A line that commands show with -v alone, and that records keep."""

    __slots__ = ()


class Notice(str):
    """A line that is worth a warning where nobody listens to lines: something takes long, or is not what was
    asked for."""

    __slots__ = ()


Progress = Callable[[float], object]
"""Takes the rows done since its last call (a share of a part's rows, so not whole), from any thread."""
StartProgress = Callable[[int, int], Progress]
"""Takes the rows of a run and its members, once they are known."""
Tell = Callable[..., object]
"""Takes an event's name and, as keywords, its fields."""
INTERRUPTED, READER_LEFT, DEFECT = 130, 141, 1
MAX_EVENT_BYTES = 1 << 20
"""Longest line that is read to see whether a file is a log."""


class RunLog:
    """Takes events from any thread. Without a path they go nowhere; warnings are said all the same."""

    def __init__(self, path: str | None = None, say: Say = lambda line: None, *, force: bool = False) -> None:
        """OutputError when the file cannot be written to, or is no log of runs and may not be replaced."""
        self._path, self._say, self._lock = path, say, threading.Lock()
        self._stream: TextIO | None = None
        self._started = time.perf_counter()
        self.warnings: Counter[str] = Counter()
        if path is not None:
            with writing(path):
                is_ours = is_log(path)
            if not (is_ours or force):
                raise OutputError(
                    f"{path} is there already and no log of runs; choose another --log-json, or add --force "
                    "to replace it"
                )
            with writing(path):
                self._stream = open(path, "a" if is_ours else "w", encoding="utf-8")  # noqa: SIM115

    def event(self, event: str, **fields: Any) -> None:
        """Write one line. OutputError when the disk refuses."""
        if event == "retry":
            self.warn(
                fields.get("kind", "damaged part"),
                f"part {fields['part']} is scored again: {fields['reason']}",
            )
        if event == "rewrite":
            self.warn("damaged file", f"file {fields['file']} is written again: {fields['reason']}")
        if self._stream is None:
            return
        now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
        if event == "part":
            fields["seconds"] = self.seconds
        line = json.dumps({"event": event, "time": now, "pid": os.getpid(), **fields}) + "\n"
        with self._lock, writing(str(self._path)):
            self._stream.write(line)
            self._stream.flush()

    @property
    def seconds(self) -> float:
        return round(time.perf_counter() - self._started, 3)

    def totals(self) -> dict[str, Any]:
        return {"seconds": self.seconds, "warnings": dict(self.warnings)}

    def warn(self, kind: str, message: str) -> None:
        """Say a warning if it is the first of its kind; others are counted."""
        with self._lock:
            self.warnings[kind] += 1
            first = self.warnings[kind] == 1
        if first:
            self._say(Notice(f"warning: {message}"))
            self.event("warning", kind=kind, message=message)

    def close(self) -> None:
        """Say how many warnings were not said, and close the file."""
        for kind, count in self.warnings.items():
            if count > 1:
                self._say(Notice(f"warning: {kind}: {count:,} in all"))
        if self._stream is not None:
            with contextlib.suppress(OSError):  # every line was flushed when it was written
                self._stream.close()


def is_log(path: str) -> bool:
    """Whether events can be appended: the file is none yet, empty, a device or pipe, or begins with one."""
    if not os.path.isfile(path) or not os.path.getsize(path):
        return True
    with open(path, "rb") as stream:
        first = stream.readline(MAX_EVENT_BYTES)
    try:
        event = parse_json(first)
    except ValueError:
        return False
    return isinstance(event, dict) and {"event", "time", "pid"} <= event.keys()


@contextlib.contextmanager
def logged(path: str | None, say: Say, *, force: bool = False) -> Iterator[RunLog]:
    """A log for one run of the command line, which also takes Python's own warnings; an exception becomes its
    `finish`. `force`: replace a file that is no log of runs."""
    log = RunLog(path, say, force=force)
    before = warnings.showwarning

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if issubclass(category, LegscoreWarning):  # what was said already
            before(message, category, *where, **more)
            return
        log.warn(category.__name__, " ".join(str(message).split()))

    warnings.showwarning = show
    try:
        with interrupts_first():
            yield log
    except BaseException as error:
        with contextlib.suppress(LegscoreError):  # the first error is the one to report
            text = " ".join(str(error).split()) or type(error).__name__
            log.event(
                "finish",
                ok=False,
                exit_code=exit_code(error),
                error=text,
                seconds=log.seconds,
                warnings=dict(log.warnings),
            )
        raise
    finally:
        warnings.showwarning = before
        log.close()


def finish(log: RunLog, record: dict[str, Any]) -> None:
    """The last event of a run that ended well; `record` is the run's."""
    told = {name: record[name] for name in ("rows", "rows_resumed", "status", "rows_per_s", "output")}
    log.event("finish", ok=True, exit_code=0, **told, **log.totals())


def exit_code(error: BaseException) -> int:
    """The code that the command line ends with after an exception."""
    if isinstance(error, LegscoreError):
        return error.exit_code
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, BrokenPipeError):
        return READER_LEFT
    if isinstance(error, OSError):
        return 2
    if isinstance(error, SystemExit):
        return error.code if isinstance(error.code, int) else DEFECT
    return DEFECT
