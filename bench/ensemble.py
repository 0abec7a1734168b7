"""What does another member cost to open? Seconds and memory of 1, 5, 10 and 50 members, the first time and
from the cache.

Each opening is a process of its own, as `legscore run` opens an ensemble, with a cache folder of its own: the
first time networks are compiled and fidelity is measured, later both are read. It then scores 64 windows;
scores of both openings must be equal. Members are one model's weights with noise. Expected: 50 members in ≤
60 s to compile and ≤ 8 s from the cache, ≤ 30 MB for an extra one.

    python bench/ensemble.py [--rounds 3] [--save]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from machine import ORIGINAL, arguments, family, finish

MEMBERS = (1, 5, 10, 50)
CHILD = """
import time; started = time.perf_counter()
import hashlib, json, sys
from legscore.system.allocator import give_back_freed_parts, use_system_pool
use_system_pool(); give_back_freed_parts()
from legscore.engine import choose, fidelity
from legscore.engine import open_engine as opening
from legscore.model.ensemble import open_members
members = open_members(sys.argv[1:], False, lambda line: None)
measured = [0.0]
measure = opening.measure
def timed(*given):
    at = time.perf_counter(); found = measure(*given); measured[0] = time.perf_counter() - at; return found
opening.measure = timed
engine = opening.open_engine(members, choose.Request())
opened = time.perf_counter() - started - measured[0]
scores = engine.score(fidelity.probe(members[0].contract, 32, 0))
status = dict(line.split(":") for line in open("/proc/self/status") if line.startswith("Vm"))
print(json.dumps({"open_s": opened, "fidelity_s": measured[0],
                  "bytes": int(status["VmRSS"].split()[0]) * 1024,
                  "peak_bytes": int(status["VmHWM"].split()[0]) * 1024,
                  "scores": hashlib.sha256(scores.tobytes()).hexdigest()}))
"""


def main() -> None:
    options = arguments(__doc__ or "", rounds=3)
    found: dict[str, dict[str, dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for n in MEMBERS:
            family(ORIGINAL, n, folder / str(n))
            command = [sys.executable, "-c", CHILD, str(folder / str(n))]
            runs = []
            for _ in range(1 + options.rounds):
                environment = {**os.environ, "LEGSCORE_CACHE": str(folder / f"cache{n}")}
                runs.append(
                    json.loads(
                        subprocess.run(command, env=environment, check=True, capture_output=True).stdout
                    )
                )
            if len({run.pop("scores") for run in runs}) != 1:
                raise SystemExit(
                    "networks from the cache score otherwise than compiled ones; no timing of wrong numbers"
                )
            cached = {key: median(run[key] for run in runs[1:]) for key in runs[0]}
            found[str(n)] = {"first": runs[0], "cached": cached}
            for when, run in found[str(n)].items():
                print(
                    f"{n:2d} members, {when:6s}: {run['open_s']:5.1f} s (fidelity "
                    f"{run['fidelity_s']:4.1f} s), "
                    f"{run['bytes'] / 1e6:6.0f} MB",
                    flush=True,
                )
    extra = {
        when: (found["50"][when]["bytes"] - found["1"][when]["bytes"]) / 49 for when in ("first", "cached")
    }
    print(
        f"an extra member: {extra['first'] / 1e6:.1f} MB the first time, {extra['cached'] / 1e6:.1f} MB "
        "from the cache"
    )
    finish("ensemble", {"members": found, "extra_member_bytes": extra}, options.save)


if __name__ == "__main__":
    main()
