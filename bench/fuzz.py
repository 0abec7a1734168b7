"""Does any file, however damaged, end in anything but scores, statuses or one line? Seeded damage to every
kind of file that
legscore reads (`fuzz_targets.py`, `fuzz_mutate.py`), each in a process that is watched.

Found are: a traceback, an exit code other than 0 and 2, an error of several lines or with control characters,
a crash of a library, more than 10 s of processor time, no end after 60 s and, once more alone, after 300 s (a
busy machine may give a process nothing for a minute), more than 1 GB of memory beyond what the process had.
Inputs that did are kept with --keep FOLDER. Expected: none.

    python bench/fuzz.py [--inputs 100000] [--minutes 10] [--seed 1] [--processes 2] [--only parquet] \\
        [--keep FOLDER] [--save]
    python bench/fuzz.py --each 20000 [--only merge,report] [--save]
    python bench/fuzz.py --replay parquet:123 [--seed 1]

With --each, the kinds of `fuzz_companions.py` come one after the other, and the result of each is kept as it
ends (`fuzz_companions.json`). What makes an input cheap: undamaged files are made once for a worker, which is
one process for all its inputs; files lie in memory; objects of the set-up are left out of the collector's
sight; figures are laid out once for each look (`fuzz_drawing.py`).
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_companions import KINDS, companion_targets
from fuzz_drawing import draw_cheaply
from fuzz_targets import Target, targets
from machine import RESULTS, describe, finish

CPU_S, WALL_S, WALL_AGAIN_S = 10.0, 60.0, 300.0
MEMORY_BYTES = 1 << 30
HARD_BYTES = 6 << 30
"""The system's own limit for a process, so that a bomb does not take the machine along; above MEMORY_BYTES on
purpose."""


def input_of(target: Target, seed: int, number: int) -> bytes:
    """The damaged file of a number; the same on every machine."""
    rng = np.random.default_rng([seed, number, *target.name.encode()])
    return target.mutate(target.seeds[int(rng.integers(0, len(target.seeds)))], rng)


def every_target(world: Path) -> list[Target]:
    """Readers of sequences, genomes and models, then the companions."""
    return [*targets(world), *companion_targets(world)]


def by_kind(found: Sequence[Target], only: str) -> list[list[Target]]:
    """Targets by kind; only those whose name or kind is among `only` (with commas), where that is not
    empty."""
    kinds: dict[str, list[Target]] = {}
    for target in found:
        if not only or {target.name, target.kind} & set(only.split(",")):
            kinds.setdefault(target.kind or target.name, []).append(target)
    return list(kinds.values())


def peak_bytes() -> int:
    with open("/proc/self/status") as stream:
        return next(int(line.split()[1]) for line in stream if line.startswith("VmHWM")) * 1024


@contextlib.contextmanager
def captured(path: Path) -> Iterator[None]:
    """File descriptors 1 and 2 into a file: what C libraries print counts too."""
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    with open(path, "wb") as stream:
        os.dup2(stream.fileno(), 1)
        os.dup2(stream.fileno(), 2)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for number, handle in enumerate(kept, 1):
            os.dup2(handle, number)
            os.close(handle)


def judged(target: Target, path: Path, seen: Path) -> tuple[str, str]:
    """Outcome of one file (`scored`, `refused`, or what is wrong), and what explains it."""
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as stream:
        stream.write("5")  # the peak counts from here
    before, cpu = peak_bytes(), time.process_time()
    code: Any = 0
    problem = ""
    with captured(seen):
        try:
            target.run(path)
        except SystemExit as stop:
            code = stop.code or 0
        except BaseException:
            problem = traceback.format_exc()
    used, cpu = peak_bytes() - before, time.process_time() - cpu
    said = seen.read_bytes()
    lines = said.decode("utf-8", "replace").splitlines()
    if problem:
        return "traceback", problem
    if code not in (0, 2):
        return "exit code", f"{code}: {said!r}"
    if code == 2 and (len(lines) != 1 or not lines[0].startswith("legscore: ")):
        return "not one line", repr(said[:2000])
    if any((ord(c) < 32 and c != "\t") or ord(c) == 127 for line in lines for c in line):
        return "control characters", repr(said[:2000])
    if code == 0 and any(b in said for b in (b"Traceback", b"[E::", b"[W::", b"Exception")):
        return "noise", repr(said[:2000])
    if cpu > CPU_S:
        return "slow", f"{cpu:.1f} s"
    if used > MEMORY_BYTES:
        return "memory", f"{used / 2**20:,.0f} MiB more"
    return ("refused" if code else "scored"), ""


def work(options: argparse.Namespace) -> None:
    """A worker: numbers options.first, first + step, … ; its place and findings go to files that the parent
    watches."""
    room = Path(options.worker)
    resource.setrlimit(resource.RLIMIT_DATA, (HARD_BYTES, HARD_BYTES))
    os.environ["LEGSCORE_CACHE"] = str(room / "cache")
    kinds = by_kind(every_target(room), options.only)
    draw_cheaply()
    gc.collect()
    gc.freeze()
    round_ = [(i, nth, kind[0].share) for i, kind in enumerate(kinds) for nth in range(kind[0].share)]
    counts: Counter[tuple[str, str]] = Counter()
    with open(room / "found.jsonl", "a") as found:
        for number in range(options.first, options.inputs, options.step):
            turn, place = divmod(number // options.step, len(round_))
            which, nth, share = round_[place]
            target = kinds[which][(turn * share + nth) % len(kinds[which])]
            (room / "at").write_text(f"{number} {target.name}")
            path = room / f"input{target.suffix}"
            path.write_bytes(input_of(target, options.seed, number))
            outcome, why = judged(target, path, room / "seen")
            counts[target.name, outcome] += 1
            if why:
                found.write(
                    json.dumps({"number": number, "target": target.name, "outcome": outcome, "why": why})
                    + "\n"
                )
                found.flush()
            _tell(room, counts)
            if number // options.step % 200 == 0:
                gc.collect()
            if options.minutes and time.time() > options.until:
                break


def _tell(room: Path, counts: Counter[tuple[str, str]]) -> None:
    (room / "counts.new").write_text(json.dumps([[*key, n] for key, n in counts.items()]))
    os.replace(room / "counts.new", room / "counts")


class Watched:
    """One worker after another over every `step`-th number."""

    def __init__(self, place: int, options: argparse.Namespace, room: Path) -> None:
        self.place, self.options, self.room, self.first = place, options, room, place
        self.counts: Counter[tuple[str, str]] = Counter()
        self.found: list[dict[str, Any]] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.again = -1

    def start(self) -> None:
        self.room.mkdir(exist_ok=True)
        for name in ("at", "counts"):
            (self.room / name).unlink(missing_ok=True)
        words = [
            sys.executable,
            __file__,
            "--worker",
            self.room,
            "--first",
            self.first,
            "--step",
            self.options.processes,
        ]
        words += ["--inputs", self.options.inputs, "--seed", self.options.seed, "--only", self.options.only]
        words += ["--minutes", self.options.minutes, "--until", self.options.until]
        with open(self.room / "worker.log", "ab") as log:
            self.process = subprocess.Popen([str(word) for word in words], stdout=log, stderr=log)

    def look(self) -> bool:
        """Whether it is still at work; a worker that died or hangs is followed by the next."""
        assert self.process is not None
        code, at = self.process.poll(), self.room / "at"
        if code is None:
            waited = time.time() - at.stat().st_mtime if at.exists() else 0.0
            number = int((at.read_text().split() or ["-1"])[0]) if waited > WALL_S else -1
            if waited > (WALL_AGAIN_S if number == self.again else WALL_S):
                self.process.kill()
                self.process.wait()
                self._lost("hang", f"more than {WALL_AGAIN_S:g} s", again=number != self.again)
            return True
        if code == 0:
            self._collect()
            return False
        self._lost("crash", f"ended with {code}")
        return True

    def _collect(self) -> None:
        if (self.room / "counts").exists():
            for name, outcome, n in json.loads((self.room / "counts").read_text()):
                self.counts[name, outcome] += n

    def _lost(self, outcome: str, why: str, *, again: bool = False) -> None:
        """Note what became of the worker's input, unless it is to be tried again, and go on."""
        if not (self.room / "at").exists():
            raise SystemExit(f"a worker did not start: {(self.room / 'worker.log').read_text()[-2000:]}")
        number, _, name = (self.room / "at").read_text().partition(" ")
        self._collect()
        if again:
            self.again = self.first = int(number)
        else:
            self.found.append({"number": int(number), "target": name, "outcome": outcome, "why": why})
            self.counts[name, outcome] += 1
            self.first = int(number) + self.options.processes
        self.start()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (
        ("inputs", 100_000),
        ("each", 0),
        ("seed", 1),
        ("processes", 2),
        ("first", 0),
        ("step", 1),
        ("minutes", 0),
        ("until", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=default)
    for name in ("worker", "only", "keep", "replay"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("--save", action="store_true")
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    if options.replay:
        replay(options)
        return
    if options.each:
        each(options)
        return
    result, found = searched(options)
    # a run of some kinds does not take the place of one of all
    finish("fuzz_some" if options.only else "fuzz", result, options.save)
    if found:
        raise SystemExit(1)


def each(options: argparse.Namespace) -> None:
    """--each inputs of one kind after the other; what ran is kept as soon as it is there."""
    path, wrong = RESULTS / "fuzz_companions.json", 0
    options.inputs = options.each
    for kind in filter(None, (options.only or ",".join(KINDS)).split(",")):
        options.only = kind
        result, found = searched(options)
        wrong += len(found)
        if options.save:
            kinds = json.loads(path.read_text())["kinds"] if path.exists() else {}
            kinds[kind] = {**result, "machine": describe()}
            path.write_text(json.dumps({"bench": "fuzz_companions", "kinds": kinds}, indent=1) + "\n")
    if wrong:
        raise SystemExit(1)


def searched(options: argparse.Namespace) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The inputs that options ask for, in watched processes; the result, and what went wrong."""
    started, used = time.perf_counter(), _core_seconds()
    options.until = int(time.time() + 60 * options.minutes)
    base = "/dev/shm" if os.path.isdir("/dev/shm") else None
    with tempfile.TemporaryDirectory(dir=base) as folder:
        watched = [Watched(place, options, Path(folder) / str(place)) for place in range(options.processes)]
        for one in watched:
            one.start()
        waiting = list(watched)
        while waiting:
            time.sleep(0.2)
            waiting = [one for one in waiting if one.look()]
        counts: Counter[tuple[str, str]] = sum((one.counts for one in watched), Counter())
        found = [finding for one in watched for finding in one.found]
        for one in watched:
            found += [json.loads(line) for line in (one.room / "found.jsonl").read_text().splitlines()]
        if options.keep:
            keep(options, found, Path(folder))
    seconds = time.perf_counter() - started
    by_outcome: Counter[str] = Counter()
    by_target: dict[str, dict[str, int]] = {}
    for (name, outcome), n in sorted(counts.items()):
        by_outcome[outcome] += n
        by_target.setdefault(name, {})[outcome] = n
    for name, outcomes in by_target.items():
        print(f"{name:>18}: " + ", ".join(f"{outcome} {n:,}" for outcome, n in outcomes.items()))
    for finding in found[:40]:
        print(
            f"{finding['outcome']} {finding['target']}:{finding['number']}: "
            f"{finding['why'].strip().splitlines()[-1][:300]}",
            flush=True,
        )
    result = {
        "inputs": sum(by_outcome.values()), "seed": options.seed, "seconds": round(seconds, 1),
        "core_seconds": round(_core_seconds() - used, 1), "outcomes": dict(by_outcome), "targets": by_target,
        "found": len(found),
    }  # fmt: skip
    return result, found


def _core_seconds() -> float:
    """Of all worker processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def keep(options: argparse.Namespace, found: list[dict[str, Any]], room: Path) -> None:
    """Inputs that went wrong, as files, and why."""
    target_of = {target.name: target for target in every_target(room)}
    into = Path(options.keep)
    into.mkdir(parents=True, exist_ok=True)
    for finding in found:
        target = target_of[finding["target"]]
        stem = f"{target.name.replace(' ', '_')}-{finding['number']}"
        (into / f"{stem}{target.suffix}").write_bytes(input_of(target, options.seed, finding["number"]))
        (into / f"{stem}.txt").write_text(f"{finding['outcome']}\n{finding['why']}\n")


def replay(options: argparse.Namespace) -> None:
    """One number again, with everything shown."""
    name, _, number = options.replay.rpartition(":")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["LEGSCORE_CACHE"] = folder
        target = next(target for target in every_target(Path(folder)) if target.name == name)
        path = Path(folder) / f"input{target.suffix}"
        path.write_bytes(input_of(target, options.seed, int(number)))
        outcome, why = judged(target, path, Path(folder) / "seen")
        print(outcome, why, (Path(folder) / "seen").read_text(errors="replace"), sep="\n")


if __name__ == "__main__":
    main()
