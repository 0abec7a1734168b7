"""Does a run survive being killed? Random kills of `legscore run`, resumed each time, outputs compared byte
for byte.

Runs over a table (to Parquet, Arrow, packed text), over a VCF (to VCF and to a table) and over pairs with a
student first are killed at seeded random moments, four of five times with SIGKILL, else with SIGTERM or
SIGINT, and started again with the same command until they finish; then the next begins. After each kill the
output is either not there or whole, and nothing lies beside it but its parts. Small toy models and parts of
150 rows make a run last a second or two; everything else is the command as users have it.

    python bench/kills.py [--kills 200] [--seed 0] [--engine openvino] [--save]

`--engine cheap` scores by counting bases, without a network: for tests.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
TESTS = HERE.parent / "tests"
PART_ROWS = 150
CASCADE = "c.parquet"
RUNS = ("o.parquet", "o.tsv.gz", "o.vcf.gz", "o.arrow", "g.parquet", CASCADE)
END_S = 60.0


def child(engine: str, arguments: list[str]) -> None:
    """The command with small parts, and with `cheap` an engine that needs no compiling."""
    import numpy as np

    import legscore.run.open_engines
    import legscore.run.prepare
    from legscore.cli import main
    from legscore.engine.null_engine import NullEngine

    legscore.run.prepare.part_rows = lambda members, name: PART_ROWS  # type: ignore[assignment]

    class Cheap(NullEngine):
        def _score(self, batch: Any, members: list[int], both: bool, tell: Any) -> np.ndarray:
            time.sleep(0.02)
            codes_WL = batch.expand().astype(np.float32)
            return np.stack(
                [codes_WL @ np.sin(np.arange(codes_WL.shape[1], dtype=np.float32) + m) for m in members]
            )

    if engine == "cheap":
        legscore.run.open_engines.open_engine = lambda members, request, say: Cheap(members)  # type: ignore[assignment]
    sys.argv = ["legscore", *arguments]
    main()


def make_inputs(folder: Path, rows: int) -> None:
    """A table with carried columns and rows without scores; a genome, its tiles and a VCF; two toy models."""
    sys.path.insert(0, str(TESTS))
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from conftest import make_student, random_dna, toy_checkpoint

    rng = np.random.default_rng(0)
    for member in range(2):
        toy_checkpoint(member).save(folder / f"m{member}.safetensors")
    texts = [
        None if i % 17 == 5 else random_dna(rng, int(n)) for i, n in enumerate(rng.integers(40, 120, rows))
    ]
    names = [None if i % 13 == 1 else f"gene {i // 40}" for i in range(rows)]
    pq.write_table(pa.table({"id": np.arange(rows), "gene": names, "sequence": texts}), folder / "in.parquet")
    refs = [random_dna(rng, 80) for _ in range(rows)]
    pairs = {"id": np.arange(rows), "ref_sequence": refs, "alt_sequence": [random_dna(rng, 80) for _ in refs]}
    pq.write_table(pa.table(pairs), folder / "pairs.parquet")
    (folder / "student").mkdir()
    make_student(folder, folder / "student" / "s.safetensors")
    contig = random_dna(rng, rows + 200)
    (folder / "g.fa").write_text(f">1\n{contig}\n")
    lines = [
        "##fileformat=VCFv4.2",
        f"##contig=<ID=1,length={len(contig)}>",
        "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO",
    ]
    for at in range(100, 100 + rows):
        ref = contig[at - 1]
        lines.append(f"1\t{at}\t.\t{ref}\t{'ACGT'['ACGT'.index(ref) - 1]}\t.\t.\t.")
    (folder / "v.vcf").write_text("\n".join(lines) + "\n")


@dataclass
class Tally:
    """What happened: kills by signal, runs that took up parts, runs finished and compared, longest end after
    a kill."""

    kills: Counter[str] = field(default_factory=Counter)
    resumed: int = 0
    finished: int = 0
    slowest_end_s: float = 0.0


class Folder:
    """Inputs, the bytes that uninterrupted runs wrote, and how long those took."""

    def __init__(self, folder: Path, engine: str, rows: int) -> None:
        self.folder, self.engine, self.n_parts = folder, engine, -(-rows // PART_ROWS)
        make_inputs(folder, rows)
        self.given = sorted(entry.name for entry in folder.iterdir())
        self.expected: dict[str, bytes] = {}
        self.seconds: dict[str, float] = {}
        for name in RUNS:
            started = time.perf_counter()
            done = self.start(name).wait()
            self.seconds[name] = time.perf_counter() - started
            if done != 0:
                raise SystemExit(f"an uninterrupted run ended with {done}")
            self.expected[name] = (folder / name).read_bytes()
            if name == RUNS[0]:  # builds the index of the FASTA too
                self.given = sorted({*self.given, *(n for n in os.listdir(folder) if n.startswith("g.fa"))})
            self.clean(name)
        self.given = sorted({*self.given, *(n for n in os.listdir(folder) if n.startswith("g.fa"))})

    def start(self, name: str) -> subprocess.Popen[bytes]:
        table = name.startswith("o.") and "vcf" not in name
        what = ["in.parquet"] if table else ["v.vcf", "--fasta", "g.fa", "--centered"]
        if name == CASCADE:
            what = ["pairs.parquet", "--student", "student/s.safetensors", "--rescore", "10%"]
        command = [
            sys.executable,
            str(HERE / "kills.py"),
            "--child",
            self.engine,
            "run",
            *what,
            "-m",
            ".",
            "-o",
            name,
        ]
        path = os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        return subprocess.Popen(
            [*command, "--precision", "fp32"],
            cwd=self.folder,
            stderr=open(self.folder.parent / "stderr", "wb"),
            env={**os.environ, "PYTHONPATH": path},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
        )

    def said(self) -> str:
        return (self.folder.parent / "stderr").read_text()

    def clean(self, name: str) -> None:
        for entry in self.folder.glob(f"{name}*"):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()

    def check(self, name: str, *, finished: bool) -> None:
        """SystemExit unless the folder is as it must be after a kill, or at the end."""
        out = self.folder / name
        if out.exists() and out.read_bytes() != self.expected[name]:
            raise SystemExit(f"{name} differs from an uninterrupted run's; kept in {self.folder}")
        allowed = {
            *self.given,
            name,
            f"{name}.run.json",
            f"{name}.tbi",
            *([] if finished else [f"{name}.parts"]),
        }
        stray = {entry for entry in os.listdir(self.folder) if entry not in allowed}
        # the next run removes those
        stray = {entry for entry in stray if finished or not entry.startswith(f".{name}.")}
        if stray or (finished and not out.exists()):
            raise SystemExit(f"after {name}: left over {stray}" if stray else f"{name} is not there")


def kill_runs(folder: Folder, kills: int, seed: int, say: Any = lambda line: None) -> Tally:
    """Start, kill and resume until so many kills have happened; then let the last run finish."""
    rng, tally, turn = random.Random(seed), Tally(), 0
    while sum(tally.kills.values()) < kills:
        name = RUNS[turn % len(RUNS)]
        turn += 1
        while True:
            process = folder.start(name)
            if sum(tally.kills.values()) < kills and _kill(process, folder, name, rng, tally):
                folder.check(name, finished=False)
                continue
            if process.wait(END_S) != 0:
                raise SystemExit(f"{name} ended with {process.returncode}: {folder.said()}")
            tally.resumed += "resume:" in folder.said()
            folder.check(name, finished=True)
            tally.finished += 1
            folder.clean(name)
            break
        say(f"{sum(tally.kills.values()):4d} kills, {tally.finished} runs finished, {tally.resumed} resumed")
    return tally


def _kill(
    process: subprocess.Popen[bytes], folder: Folder, name: str, rng: random.Random, tally: Tally
) -> bool:
    """Kill the run at a random moment: after a random time, or (more often) a little after it has kept a
    random number of parts more. False when it ended before."""
    number = rng.choice([signal.SIGKILL] * 4 + [rng.choice([signal.SIGTERM, signal.SIGINT])])
    anywhere, share, more, after_s = (
        rng.random() < 0.25,
        rng.random(),
        rng.randint(0, folder.n_parts // 3),
        rng.uniform(0, 0.06),
    )
    parts, ends = folder.folder / f"{name}.parts", time.perf_counter() + END_S
    wanted = _kept(parts) + more
    if anywhere:
        after_s = share * folder.seconds[name]
    while (
        not anywhere
        and process.poll() is None
        and _kept(parts) < max(wanted, 1)
        and time.perf_counter() < ends
    ):
        time.sleep(0.003)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(after_s)
    if process.poll() is not None:
        return False
    process.send_signal(number)
    started = time.perf_counter()
    code = process.wait(END_S)
    tally.slowest_end_s = max(tally.slowest_end_s, time.perf_counter() - started)
    if code == 0:  # it finished before the signal came
        return False
    before_it_began = code == 1 and "init_import_site" in folder.said()  # SIGINT while Python itself starts
    if code not in (-number, 128 + number) and not before_it_began:
        raise SystemExit(f"after signal {number} {name} ended with {code}: {folder.said()}")
    tally.resumed += "resume:" in folder.said()
    tally.kills[signal.Signals(number).name] += 1
    return True


def _kept(parts: Path) -> int:
    """Parts that a run has kept so far."""
    with contextlib.suppress(OSError):  # the folder may go at any time
        return sum(1 for _ in parts.glob("**/part-*"))
    return 0


def main() -> None:
    sys.path.insert(0, str(HERE.parent))
    from machine import arguments, finish

    options = arguments(__doc__ or "", kills=200, seed=0, rows=3000, engine="openvino")
    with tempfile.TemporaryDirectory() as room:
        (Path(room) / "work").mkdir()
        folder = Folder(Path(room) / "work", options.engine, options.rows)
        started = time.perf_counter()
        tally = kill_runs(folder, options.kills, options.seed, print)
    result = {
        "kills": dict(tally.kills), "seed": options.seed, "runs_finished": tally.finished,
        "runs_resumed": tally.resumed, "outputs_that_differ": 0, "rows_lost": 0,
        "slowest_end_s": round(tally.slowest_end_s, 2), "seconds": round(time.perf_counter() - started, 1),
        "outputs": list(RUNS), "engine": options.engine,
    }  # fmt: skip
    finish("kills", result, options.save)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--child"]:
        child(sys.argv[2], sys.argv[3:])
    else:
        main()
