"""What `fuzz.py` feeds damaged files to beside the readers of sequences: the files that legscore writes and
reads again (scores, records, calibrations, shards, kept parts) through merge, report, evaluate, plot and run.

Where a checksum can tell, an output that is not the right one is as wrong as a traceback: `WrongOutputError`
is raised.
"""

from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fuzz_mutate as damage
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fuzz_targets import Target, command, table

from legscore.run.calibration import Calibration, checksum_of_entries

ROWS, PART_ROWS = 16, 4
KINDS = ("merge", "evaluate", "report", "record", "part", "plot", "calibration")
DRAWN, CHEAP_SHARE = ("plot", "report"), 4
"""Kinds that draw a picture or a page for each input take longer, and get fewer where kinds take turns."""


class WrongOutputError(Exception):
    """Damage was taken for what was written."""


def scores(n: int = 36) -> pa.Table:
    """A saturated promoter with measurements, groups and clusters: what report, plot and evaluate look at."""
    angle = np.arange(n)
    return pa.table(
        {
            "tile_id": ["t"] * n,
            "chrom": ["II"] * n,
            "pos": angle // 3 + 1,
            "strand": ["+"] * n,
            "ref": list("TTT") * (n // 3),
            "alt": list("ACG") * (n // 3),
            "offset": angle // 3,
            "alt_base": list("ACG") * (n // 3),
            "ref_score": 8 + np.sin(angle // 3),
            "effect": np.sin(angle),
            "effect_sd": np.abs(np.cos(angle)) + 0.1,
            "measured": np.sin(angle) + 0.1 * np.cos(5 * angle),
            "group": [f"g{i % 2}" for i in range(n)],
            "status": ["ok"] * n,
        }
    )


def record() -> dict[str, Any]:
    """As `legscore run` writes it, as far as the companions read it."""
    return {
        "legscore": "0", "models": [{"name": "m", "sha256": "ab" * 32, "training": {"preset": "p", "metrics": {"pearson": 0.5}}}],
        "engine": {"engine": "openvino", "precision": "bf16", "cpu": "x"}, "fidelity": {"reference": "r", "score_rmse": 0.01},
        "options": {"kind": "edit", "rc": "construct", "singleton": 0}, "contract": {"output": {"unit": "bin", "floor": 4.0}},
        "variants": {"kind": "saturation"},
    }  # fmt: skip


def parquet(rows: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(rows, sink, write_page_checksum=True)  # as legscore writes
    return sink.getvalue()


def text(rows: pa.Table) -> bytes:
    lines = [",".join(rows.column_names), *(",".join(map(str, row.values())) for row in rows.to_pylist())]
    return ("\n".join(lines) + "\n").encode()


def metadata(data: bytes, rng: np.random.Generator) -> bytes:
    """The JSON in a Parquet file's metadata changed, or any of its bytes."""
    if rng.random() < 0.25:
        return damage.anywhere(data, rng)
    rows = pq.read_table(io.BytesIO(data))
    raw = damage.json_file(rows.schema.metadata[b"legscore"], rng)
    return parquet(rows.replace_schema_metadata({b"legscore": raw}))


def companion_targets(world: Path) -> list[Target]:
    """The targets; the good files that they lean on are written into `world`, which holds
    model.safetensors. Without legscore[report] those that draw are left out."""
    if draws := all(importlib.util.find_spec(name) for name in ("matplotlib", "plotly")):
        import matplotlib as mpl

        mpl.rcParams["savefig.dpi"] = 20
    scored = scores().replace_schema_metadata({"legscore": json.dumps(record())})
    good, plain = parquet(scored), text(scored)
    page, picture = world / "r.html", world / "p.svg"
    asked = ("--truth", "measured", "--prediction", "effect")

    def evaluated(path: Path) -> bytes:
        made = world / "e.json"
        made.unlink(missing_ok=True)
        how = ("--by", "group", "--cluster", "offset", "--bootstrap", 10, "-q", "--json", made)
        command("evaluate", path, *asked, *how)
        return made.read_bytes()

    def calibrated(path: Path) -> None:
        fitted = ("--bootstrap", 0, "--calibrate", "--coverage", 0.5, "-q", "-o", world / "c.out.json")
        command("evaluate", path, *asked, *fitted)

    def reported(path: Path) -> bytes:
        command("report", path, "--truth", "measured", "-q", "-o", page)
        return page.read_bytes().split(b'id="data">')[1].split(b"</script>")[0]

    def told(run: Callable[[Path], bytes]) -> Callable[[Path], None]:
        """Where the footer is whole, checksums of pages tell all damage: what comes out is the good file's."""
        right = run(_file(world / "input.parquet", good))

        def run_and_compare(path: Path) -> None:
            footer = good[-8 - int.from_bytes(good[-8:-4], "little") :]
            whole = path.stat().st_size == len(good) and path.read_bytes().endswith(footer)
            if run(path) != right and whole:
                raise WrongOutputError("a damaged page was read")

        return run_and_compare

    def beside(run: Callable[[Path], object]) -> Callable[[Path], None]:
        """The damaged file lies beside a table as its record."""

        def with_record(path: Path) -> None:
            (world / "s.csv").write_bytes(plain)
            path.replace(world / "s.csv.run.json")
            run(world / "s.csv")

        return with_record

    known = json.dumps(record()).encode()
    metrics = "".join(
        json.dumps({"step": i, "loss": 2 / i, "lr": 0.1, "pearson": 0.1, "spearman": 0.1}) + "\n"
        for i in range(1, 6)
    ).encode()
    found = [
        Target("report", ".parquet", (good,), damage.anywhere, told(reported)),
        Target("report csv", ".csv", (plain,), damage.text, reported),
        Target("report metadata", ".parquet", (good,), metadata, reported),
        Target("report record", ".json", (known,), damage.json_file, beside(reported)),
        Target("report designs", ".csv", (text(designs()),), damage.text, lambda path: command("report", path, "-q", "-o", page)),
        Target("evaluate", ".parquet", (good,), damage.anywhere, told(evaluated)),
        Target("evaluate csv", ".csv", (plain,), damage.text, evaluated),
        Target("evaluate record", ".json", (known,), damage.json_file, beside(calibrated)),
        Target("plot scatter", ".csv", (plain,), damage.text, lambda path: command("plot", "scatter", path, *asked, "-o", picture)),
        Target("plot ism", ".parquet", (good,), damage.anywhere,
               lambda path: command("plot", "ism", path, "--promoter", "t", "-o", picture)),
        Target("plot training", ".metrics.jsonl", (metrics,), damage.text,
               lambda path: command("plot", "training", path, "-o", picture)),
        Target("plot curve", ".json", (curve(),), damage.json_file,
               lambda path: command("plot", "ensemble-curve", path, "-o", picture)),
    ]  # fmt: skip
    kinds = ((target, target.name.split()[0]) for target in (*found, *run_targets(world)))
    return [
        replace(target, kind=kind, share=1 if kind in DRAWN else CHEAP_SHARE)
        for target, kind in kinds
        if draws or kind not in DRAWN
    ]


def designs(n: int = 12) -> pa.Table:
    rng = np.random.default_rng(0)
    inserts = ["".join(rng.choice(list("ACGT"), 20)) for _ in range(n)]
    target, score = rng.uniform(5, 9, (2, n))
    return pa.table(
        {
            "insert": inserts,
            "target": target,
            "score": score,
            "error": score - target,
            "steps": [1] * n,
            "seed": range(n),
        }
    )


def curve() -> bytes:
    point = {
        "group": "all",
        "truth": "t",
        "prediction": "p",
        "first": 0.5,
        "mean": 0.5,
        "spread": 0.1,
        "low": 0.4,
        "high": 0.6,
    }
    points = [
        {**point, "metric": name, "k": k, "subsets": 3} for name in ("pearson", "spearman") for k in (1, 2)
    ]
    return json.dumps({"ensemble_curve": points}).encode()


def run_targets(world: Path) -> list[Target]:
    """Calibrations, shards, and what an interrupted run keeps."""
    rows = table(ROWS).select(["id", "sequence", "offset", "alt_base"])
    pq.write_table(rows, world / "rows.parquet")
    model = world / "model.safetensors"
    base = ("run", world / "rows.parquet", "-m", model, "--engine", "null", "--part-rows", PART_ROWS, "-q")
    fitted = Calibration(
        (hashlib.sha256(model.read_bytes()).hexdigest(),),
        {"rc": "construct", "singleton": 0}, 1.0, 2.0, 0.1, uses_sd=False, coverage=0.9, fit={"rows": 24},
    )  # fmt: skip
    fitted.save(world / "good.calibration.json")
    calibration = (world / "good.calibration.json").read_bytes()
    whole = {}
    few = world / "few_rows.parquet"
    pq.write_table(rows.slice(0, PART_ROWS), few)
    for ending in ("parquet", "csv"):
        whole[ending] = world / f"whole.{ending}"
        command(*base, "-o", whole[ending])
        for i in (1, 2):
            command(*base, "-o", world / f"p{i}.{ending}", "--shard", f"{i}/2")

    def merged(ending: str) -> Callable[[Path], None]:
        """The first shard is the damaged file, with the record of the good one beside it."""

        def merge(path: Path) -> None:
            shutil.copy(world / f"p1.{ending}.run.json", f"{path}.run.json")
            command("merge", path, world / f"p2.{ending}", "-q", "-o", world / f"merged.{ending}")
            _same(world / f"merged.{ending}", whole[ending])

        return merge

    def merged_record(path: Path) -> None:
        """The first shard is good, and its record damaged."""
        shard = world / "m1.csv"
        shutil.copy(world / "p1.csv", shard)
        path.replace(f"{shard}.run.json")
        command("merge", shard, world / "p2.csv", "-q", "-o", world / "merged.csv")
        _same(world / "merged.csv", whole["csv"])

    done, kept = world / "done.parquet", world / "kept"
    command(*base, "-o", done)
    done_record = Path(f"{done}.run.json").read_bytes()
    _interrupt(world, model, kept)
    names = sorted(path.name for path in kept.iterdir() if path.name.startswith("part-"))

    def resumed(name: str) -> Callable[[Path], None]:
        """The damaged file in the place of one that was kept: the run ends with the bytes of an uninterrupted
        one."""

        def resume(path: Path) -> None:
            out = world / "resumed.parquet"
            shutil.rmtree(f"{out}.parts", ignore_errors=True)
            shutil.copytree(kept, f"{out}.parts")
            path.replace(Path(f"{out}.parts") / name)
            command(*base, "-o", out)
            _same(out, whole["parquet"])

        return resume

    def finished(path: Path) -> None:
        """The record of a finished run is damaged, and the same command comes again."""
        shutil.copy(whole["parquet"], done)
        path.replace(f"{done}.run.json")
        command(*base, "-o", done, keep=True)
        _same(done, whole["parquet"])

    def edited(data: bytes, rng: np.random.Generator) -> bytes:
        """Entries of a calibration changed, under a checksum that fits again."""
        held = damage.inside_json(json.loads(data), rng)
        if not isinstance(held, dict):
            return json.dumps(held).encode()
        return json.dumps({**held, "sha256": checksum_of_entries(held)}).encode()

    def with_edited(path: Path) -> None:
        made = world / "calibrated.csv"
        command("run", few, *base[2:], "-o", made, "--calibration", path)

    def with_calibration(path: Path) -> None:
        with_edited(path)
        _same(world / "calibrated.csv", right)

    right = world / "right.csv"
    command("run", few, *base[2:], "-o", right, "--calibration", world / "good.calibration.json")
    shards = {ending: (world / f"p1.{ending}").read_bytes() for ending in whole}
    return [
        Target("calibration", ".json", (calibration,), damage.json_file, with_calibration),
        Target("calibration edited", ".json", (calibration,), edited, with_edited),
        Target("merge", ".parquet", (shards["parquet"],), damage.anywhere, merged("parquet")),
        Target("merge metadata", ".parquet", (shards["parquet"],), metadata, merged("parquet")),
        Target("merge csv", ".csv", (shards["csv"],), damage.text, merged("csv")),
        Target("merge record", ".json", ((world / "p1.csv.run.json").read_bytes(),), damage.json_file, merged_record),
        Target("part", ".part", ((kept / names[0]).read_bytes(), (kept / names[1]).read_bytes()), damage.anywhere, resumed(names[0])),
        Target("record kept", ".json", ((kept / "record.json").read_bytes(),), damage.json_file, resumed("record.json")),
        Target("record run", ".json", (done_record,), damage.json_file, finished),
    ]  # fmt: skip


class StopError(Exception):
    """Ends a run after a few parts."""


def _interrupt(world: Path, model: Path, kept: Path) -> None:
    """What a run leaves that ends after half of its parts, moved to `kept`."""
    from legscore.run.job import score
    from legscore.run.options import Options

    out = world / "interrupted.parquet"
    done = 0.0

    def tick(rows: float) -> None:
        nonlocal done
        done += rows
        if done > ROWS / 2:
            raise StopError

    options = Options(
        inputs=[str(world / "rows.parquet")],
        output=str(out),
        models=[str(model)],
        engine="null",
        part_rows=PART_ROWS,
    )
    try:
        score(options, progress=lambda rows, members: tick)
    except StopError:
        shutil.move(f"{out}.parts", kept)


def _file(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _same(made: Path, right: Path) -> None:
    if made.read_bytes() != right.read_bytes():
        raise WrongOutputError(f"{made.name} is not {right.name}")
