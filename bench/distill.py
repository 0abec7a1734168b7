"""Does a student stand for its ensemble, and what does it cost?

One command, which goes on where it was interrupted: --work keeps labels, students and scores. From the
bundled ensemble and public data (--data, as examples/make_student.py takes it) it makes students at 1/20 and
1/50 of the cost, and one at 1/20 with a tenth of the rows of the 23 promoters' changes and of the native
variants labelled (`--own`), then compares effects and levels with the ensemble's on these rows and on all
changes of --tiles genomic tiles. No drawn window shares 20 bases with any of these rows.

Expected: effects Pearson ≥ 0.980 (promoters) and ≥ 0.985 (native) at 1/20, ≥ 0.965 and 0.975 at 1/50, levels
≥ 0.995; better with own rows on those not used; 90 % intervals hold 90 ± 2 % of the tiles' changes; 5 % of
the tiles' rows by the student's |effect| hold ≥ 99 % of the ensemble's top 1 %, within a point of what the
record expects; of the tops of promoters (55) and native variants (37) at most one is missed. Then windows/s
of students and ensemble on every engine here, in turns, after their scores were compared; and all single
changes of the yeast's promoters with the bundled student, timed beside what --dry-run promises with the
ensemble (`--every N`: a shard of N).

    python bench/distill.py --data DATA --work WORK [--labels 200000] [--steps 3000] [--tiles 420]
        [--rounds 7] [--parts students,scores,rates,genome] [--students s20,s50,own20]
        [--labels-from FOLDER] [--every 1] [--save]

About five CPU hours: 75 minutes of one core for labels (none for those that examples/make_student.py left
in its folder, --labels-from), then 25 to 50 for each student, which gain little from a second core: one
process a student (--students) uses two. `--parts` names what is done now; figures are made of all scores
that are there, rates and times of parts that are not done now stay in the result. The exit code is 1
where something falls short.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from distill_tables import agreement, coverage, effects, found_at, make_tables
from machine import RESULTS, alternate, arguments, finish
from make_student import command

from legscore.cli import run as run_command
from legscore.distill.labels import windows_of
from legscore.distill.sources import RandomDna
from legscore.dna.batch import Batch
from legscore.engine.choose import Request
from legscore.engine.native_library import library_path
from legscore.engine.open_engine import open_engine
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint, load_checkpoint, load_members
from legscore.model.forward import Forward
from legscore.model.model_names import locate_models

TIMED = ("rates", "rows_per_s", "genome")
"""Entries of the result that other parts than scores make."""
COSTS = {"s20": 20, "s50": 50, "own20": 20}
WANTED = {
    "s20": {"promoters": 0.980, "native": 0.985, "levels": 0.995},
    "s50": {"promoters": 0.965, "native": 0.975, "levels": 0.0},
}
SHARE = 0.05
PARTS = ("students", "scores", "rates", "genome")
TOLERANCE = {"fp32": 2e-3, "bf16": 0.1}


def make_students(
    data: Path, work: Path, tables: dict[str, Path], labels: int, steps: int, kept: str, names: list[str]
) -> None:
    """Students that are not there yet; no window is labelled twice. `kept`: a folder of more labels."""
    checked = ("--check", tables["promoters"], "--check", tables["native"], "--truth", "complex_delta")
    for name in names:
        path, cost = work / f"{name}.safetensors", COSTS[name]
        if path.exists():
            continue
        more: tuple[Any, ...] = (
            ("--own", tables["own"], "--own-share", 100) if name.startswith("own") else checked
        )
        folders = [f"{work / other}.safetensors.distill" for other in COSTS if other != name]
        for folder in (*folders, kept):
            if (Path(folder) / "plan.json").is_file():
                more += ("--labels-from", folder)
        apart = [word for name in ("promoters", "native", "tiles") for word in ("--apart", tables[name])]
        extra = tuple(map(str, (*more, *apart, "--force-student")))
        subprocess.run(command(data, path, cost=cost, labels=labels, steps=steps, extra=extra), check=True)


def score_tables(work: Path, tables: dict[str, Path]) -> None:
    """Scores of every table by the ensemble and by every student, by `legscore run`; finished ones stay."""
    (work / "scores").mkdir(exist_ok=True)
    for model in ("bundled", *COSTS):
        for table in ("promoters", "native", "tiles"):
            path = work / "scores" / f"{table}_{model}.parquet"
            named = "bundled" if model == "bundled" else str(work / f"{model}.safetensors")
            if path.exists() or not (model == "bundled" or Path(named).exists()):
                continue
            given = [str(tables[table]), "-m", named, "-o", str(path), "--kind", "pair", "--keep", "none"]
            subprocess.run([sys.executable, "-m", "legscore", "run", *given], check=True)


def figures(work: Path, tables: dict[str, Path]) -> tuple[dict[str, Any], dict[str, bool]]:
    """Figures of all scores that are there, and which expectations hold."""
    found: dict[str, Any] = {}
    holds: dict[str, bool] = {}
    scores = {path.stem: effects(path) for path in sorted((work / "scores").glob("*.parquet"))}
    own = pq.read_table(tables["own"], columns=["table", "row"]).to_pydict()
    for model in COSTS:
        if f"tiles_{model}" not in scores or "tiles_bundled" not in scores:
            continue
        student = load_checkpoint(work / f"{model}.safetensors")
        found[model] = _of_student(model, student, scores, tables, own)
    for model, wanted in WANTED.items():
        for table in ("promoters", "native") if model in found else ():
            one = found[model][table]
            holds[f"{model} effects {table}"] = one["effects_pearson"] >= wanted[table]
            holds[f"{model} levels {table}"] = one["levels_pearson"] >= wanted["levels"]
    if {"s20", "own20"} <= set(found):
        for table in ("promoters", "native"):
            pair = [found[name][f"{table}, rows not used"]["effects_pearson"] for name in ("own20", "s20")]
            holds[f"own rows help on {table}"] = pair[0] > pair[1]
    if "s20" in found:
        found["missed"], promised = 0, found["s20"]["top"]["tiles"]
        for table in ("promoters", "native"):
            found["missed"] += found["s20"]["top"][table]["top"] - found["s20"]["top"][table]["found"]
        holds["coverage of tiles"] = abs(found["s20"]["coverage"]["tiles"]["coverage"] - 0.9) <= 0.02
        holds["tiles' top found"] = promised["share_found"] >= 0.99
        expected = promised["expected"]
        holds["as expected"] = expected is not None and abs(expected[0] - promised["share_found"]) <= 0.01
        holds["at most one missed"] = found["missed"] <= 1
    return found, holds


def _of_student(
    model: str,
    student: Checkpoint,
    scores: dict[str, dict[str, np.ndarray]],
    tables: dict[str, Path],
    own: dict[str, list[Any]],
) -> dict[str, Any]:
    found: dict[str, Any] = {"coverage": {}, "top": {}}
    for table in ("promoters", "native", "tiles"):
        ours, theirs = scores[f"{table}_{model}"], scores[f"{table}_bundled"]
        usable = ours["usable"] & theirs["usable"]
        found[table] = agreement(ours, theirs, usable)
        if table != "tiles":
            unused = usable.copy()
            unused[[row for name, row in zip(own["table"], own["row"], strict=True) if name == table]] = False
            found[f"{table}, rows not used"] = agreement(ours, theirs, unused)
        column = "promoter" if table == "native" else "tile"
        tile_N = pq.read_table(tables[table], columns=[column])[column].to_numpy()[usable]
        pair = ours["effect"][usable], theirs["effect"][usable]
        found["coverage"][table] = coverage(student, *pair, tile_N)
        found["top"][table] = found_at(student, *pair, tile_N, SHARE)
    return found


def rates(work: Path, rounds: int) -> dict[str, Any]:
    """windows/s of students and ensemble on every engine here, in turns, after a look at their scores."""
    ensemble = load_members(locate_models(["bundled"]))
    engines = [("openvino", "bf16"), ("openvino", "fp32"), ("torch", "fp32")]
    engines += [("native", "bf16")] if library_path().is_file() else []
    found: dict[str, Any] = {}
    for engine, precision in engines:
        try:
            measured = _of_engine(work, ensemble, engine, precision, rounds)
        except EngineError as error:
            print(f"{engine} {precision}: not measured ({error})", flush=True)
            found[f"{engine} {precision}"] = {"refused": str(error)}
            continue
        times = {name: rate / measured["ensemble"] for name, rate in measured.items()}
        found[f"{engine} {precision}"] = {"windows_per_s": measured, "times_ensemble": times}
        told = ", ".join(f"{name} {rate:,.0f}/s" for name, rate in measured.items())
        print(f"{engine} {precision}: {told}", flush=True)
    return found


def _of_engine(
    work: Path, ensemble: list[Checkpoint], engine: str, precision: str, rounds: int
) -> dict[str, float]:
    """windows/s of each student and of the ensemble. EngineError where the engine cannot serve one."""
    models = {name: [load_checkpoint(work / f"{name}.safetensors")] for name in WANTED}
    jobs: dict[str, Callable[[], object]] = {}
    counts: dict[str, float] = {}
    with contextlib.ExitStack() as stack:
        for name, members in {**models, "ensemble": ensemble}.items():
            both = members[0].contract.rc_trained
            one = open_engine(members, Request(engine, precision, both_strands=both))
            stack.callback(one.close)
            n = 256 if name == "ensemble" else 2_048
            codes = windows_of(RandomDna(80).draw(n, np.random.default_rng(37)), members[0].contract)
            _compare(members, codes[:4], one.score(Batch(codes[:4])), TOLERANCE[precision], both)
            jobs[name] = partial(one.score, Batch(codes))
            counts[name] = float(n)
        return alternate(jobs, counts, rounds)


def _compare(
    members: list[Checkpoint], codes: np.ndarray, found_MN: np.ndarray, tolerance: float, both: bool
) -> None:
    """SystemExit where an engine's scores are not those of the readable network."""
    for member, found in zip(members, found_MN, strict=True):
        truth = Forward(member, both_strands=both, is_singleton=False).score(codes)
        if (off := np.abs(found - truth).max()) > tolerance:
            raise SystemExit(f"{member.name}: scores are off by {off:.3g}, more than {tolerance:g}")


def whole_runs(work: Path, tables: dict[str, Path], rows: int) -> dict[str, Any]:
    """rows/s of whole runs: student, ensemble, and the cascade of both where `legscore run` has one."""
    table = work / f"rows{rows}.parquet"
    pq.write_table(pq.read_table(tables["tiles"]).slice(0, rows), table)
    student = str(work / "s20.safetensors")
    given = {"student": ["-m", student], "ensemble": ["-m", "bundled"]}
    if "rescore" in {option.name for option in run_command.command.params}:
        given["cascade"] = ["-m", "bundled", "--student", student, "--rescore", "5%"]
    base = [
        sys.executable,
        "-m",
        "legscore",
        "run",
        str(table),
        "-o",
        str(work / "timed.parquet"),
        "--force",
        "-q",
    ]
    jobs = {
        name: lambda more=more: subprocess.run([*base, "--restart", *more], check=True)
        for name, more in given.items()
    }
    return alternate(jobs, dict.fromkeys(jobs, float(rows)), 3)


def genome(data: Path, work: Path, every: int) -> dict[str, Any]:
    """All single changes of the yeast's promoters with the bundled student, from genome to atlas, beside the
    time that --dry-run promises with the ensemble. `every`: only every n-th part of them, as shards."""
    folder = data / "genome"
    fasta, gtf = (str(next(iter(sorted(folder.glob(f"*{end}"))))) for end in (".fa.gz", ".gtf.gz"))
    build = ["atlas", "build", "--fasta", fasta, "--promoters", gtf, "--assume-utr", "47", "-q", "--force"]
    shard = ["--shard", f"1/{every}"] if every > 1 else []
    promised = _said([*build[:-2], "-m", "bundled", "-o", str(work / "atlas"), "--dry-run"])
    rows, rate = (
        float(re.search(pattern, promised)[1].replace(",", ""))  # type: ignore[index]
        for pattern in (r"rows: ([\d,]+) ", r"\(([\d,.]+) windows/s")
    )
    began = time.perf_counter()
    _said([*build, "-m", "bundled-student", "-o", str(work / "atlas"), "--restart", *shard])
    spent = time.perf_counter() - began
    record = json.loads((work / "atlas.run.json").read_text())
    return {
        "changes": int(rows),
        "scored": record["rows"],
        "seconds": round(spent, 1),
        "windows_per_s": record["windows_per_s"],
        "statuses": record["status"],
        "ensemble_windows_per_s": rate,
        "ensemble_hours_promised": round(rows / rate / 3600, 2),
    }


def _said(words: list[str]) -> str:
    """What a command of legscore says."""
    done = subprocess.run([sys.executable, "-m", "legscore", *words], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr[-600:]}")
    return done.stdout + done.stderr


def _measured_earlier(result: dict[str, Any]) -> dict[str, Any]:
    """Rates and the genome from the results that are kept, where they were not measured now, and by which
    commit they were."""
    path = RESULTS / "distill.json"
    before = json.loads(path.read_text()) if path.exists() else {}
    found = {name: before[name] for name in TIMED if name in before and name not in result}
    if not found:
        return {}
    machine = {name: before["machine"][name] for name in ("cores", "commit", "date")}
    return {**found, "earlier": {name: before.get("earlier", {}).get(name, machine) for name in found}}


def main() -> None:
    options = arguments(
        __doc__ or "", data="../shared/data", work="distill_work", labels=200_000, steps=3_000, tiles=420,
        rounds=7, rows=2_400, parts=",".join(PARTS), labels_from="", students=",".join(COSTS), every=1,
    )  # fmt: skip
    parts = options.parts.split(",")
    students = options.students.split(",")
    for given, known in ((parts, PARTS), (students, tuple(COSTS))):
        if unknown := set(given) - set(known):
            raise SystemExit(f"{', '.join(sorted(unknown))} is not known; known are {', '.join(known)}")
    data, work = Path(options.data), Path(options.work)
    work.mkdir(parents=True, exist_ok=True)
    tables = make_tables(data, work, options.tiles)
    if "students" in parts:
        make_students(data, work, tables, options.labels, options.steps, options.labels_from, students)
    if "scores" in parts:
        score_tables(work, tables)
    found, holds = figures(work, tables)
    result: dict[str, Any] = {"labels": options.labels, "steps": options.steps, **found}
    if "rates" in parts:
        result["rates"] = rates(work, options.rounds)
        result["rows_per_s"] = whole_runs(work, tables, options.rows)
    if "genome" in parts:
        result["genome"] = genome(data, work, options.every)
    result = {**_measured_earlier(result), **result}
    for what, one in holds.items():
        print(f"{what}: {'holds' if one else 'falls short'}")
    finish("distill", {**result, "holds": holds}, options.save)
    sys.exit(int(not all(holds.values())))


if __name__ == "__main__":
    main()
