"""Should a cascade also score again the rows where the student is unsure?

The bundled student tells `score_sd` of a sequence; of a pair, s is the root of the sum of both alleles'
squares. On all single changes of the 23 promoters and on the native variants with measured effects, of which
the student saw nothing: is |student's effect - ensemble's effect| ranked by s, beyond what |effect| says of
it, and does the rank by |effect| + k s find more of the ensemble's largest effects than that by |effect| at
the same number of rows? k is chosen on the promoters, found rows are counted on the native variants, and the
other way round. And what RMSE of effects is left once 5 % of the rows are the ensemble's, chosen by |effect|,
by s, or at random?

Expected: s ranks errors a little, and finds no more of the top, since |effect| finds nearly all of it.

    python bench/unsure.py --data DATA --work WORK [--save]

About eight minutes of one core, for the ensemble's scores; --work keeps them.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from distill_tables import inserts
from machine import arguments, finish
from make_student import checks

from legscore.system.rank_order import correlation, ranks

FACTORS = (0.0, 0.25, 0.5, 1.0, 2.0, 4.0)
SHARES = (0.01, 0.02, 0.05)
LEFT_AFTER = 0.05
TOPS = (0.01, 0.05)
MODELS = ("bundled", "bundled-student")
TABLES = ("promoters", "native")


def run(source: Path, model: str, output: Path) -> pa.Table:
    """Scores of a table by one command; kept."""
    if not output.exists():
        given = [str(source), "-m", model, "-o", str(output), "--keep", "none"]
        subprocess.run([sys.executable, "-m", "legscore", "run", *given], check=True)
    return pq.read_table(output)


def scores(source: Path, work: Path, name: str) -> dict[str, np.ndarray]:
    """Effects of student and ensemble, and s, of the rows that both score."""
    pairs = {
        model: run(source, model, work / f"{name}_{model}.parquet")
        for model in ("bundled", "bundled-student")
    }
    table, sd = pq.read_table(source), []
    for which in ("ref", "alt"):
        path = work / f"{name}_{which}.parquet"
        if not path.exists():
            pq.write_table(pa.table({"sequence": inserts(table, which)}), path)
        told = run(path, "bundled-student", work / f"{name}_{which}_sd.parquet")
        sd.append(told["score_sd"].to_numpy().astype(np.float64))
    usable = np.logical_and.reduce([one["status"].to_numpy() == "ok" for one in pairs.values()])
    ensemble, student = (one["effect"].to_numpy().astype(np.float64)[usable] for one in pairs.values())
    return {"ensemble": ensemble, "student": student, "s": np.hypot(*sd)[usable]}


def ranked(rows: dict[str, np.ndarray]) -> dict[str, float]:
    """Rank correlations with the error's size: of |effect|, of s, and of s beyond a cubic of |effect|."""
    error, size, s = (
        ranks(values)
        for values in (
            np.abs(rows["student"] - rows["ensemble"]),
            np.abs(rows["student"]),
            rows["s"],
        )
    )
    left = [values - np.polynomial.Polynomial.fit(size, values, 3)(size) for values in (error, s)]
    return {
        "effect": correlation(error, size),
        "s": correlation(error, s),
        "s_beyond_effect": correlation(left[0], left[1]),
    }


def found(rows: dict[str, np.ndarray], factor: float, top: float, share: float) -> float:
    """Share of the ensemble's largest effects among the first rows by |effect| + factor x s."""
    wanted, chosen = (int(np.ceil(part * len(rows["s"]))) for part in (top, share))
    first = np.argsort(-(np.abs(rows["student"]) + factor * rows["s"]), kind="stable")[:chosen]
    largest = np.argsort(-np.abs(rows["ensemble"]), kind="stable")[:wanted]
    return float(np.isin(largest, first).mean())


def judged(tables: dict[str, dict[str, np.ndarray]]) -> list[dict[str, Any]]:
    """For each table, top and share: what |effect| finds, and |effect| + k s with the other's best k."""
    lines = []
    for name, other in (TABLES, TABLES[::-1]):
        for top in TOPS:
            for share in (share for share in SHARES if share >= top):
                k = max(FACTORS, key=lambda factor: (found(tables[other], factor, top, share), -factor))
                lines.append(
                    {
                        "table": name,
                        "top": top,
                        "share": share,
                        "by_effect": found(tables[name], 0.0, top, share),
                        "k": k,
                        "by_both": found(tables[name], k, top, share),
                        "by_factor": {str(f): found(tables[name], f, top, share) for f in FACTORS},
                    }
                )
    return lines


def left_over(rows: dict[str, np.ndarray]) -> dict[str, float]:
    """RMSE of effects when the ensemble scored LEFT_AFTER of the rows, by what they were chosen by."""
    square = (rows["student"] - rows["ensemble"]) ** 2
    chosen = int(np.ceil(LEFT_AFTER * len(square)))
    by = {"effect": np.abs(rows["student"]), "s": rows["s"]}
    left = {
        name: np.sqrt(square[np.argsort(-values, kind="stable")[chosen:]].sum() / len(square))
        for name, values in by.items()
    }
    none = np.sqrt(square.mean())
    return {"none": none, "at_random": none * np.sqrt(1 - LEFT_AFTER), **left}


def main() -> None:
    options = arguments(__doc__ or "", data="../shared/data", work="unsure")
    work = Path(options.work)
    work.mkdir(exist_ok=True)
    sources = dict(zip(TABLES, checks(Path(options.data), work), strict=True))
    tables = {name: scores(source, work, name) for name, source in sources.items()}
    result: dict[str, Any] = {"errors_ranked_by": {name: ranked(rows) for name, rows in tables.items()}}
    result["rows"] = {name: len(rows["s"]) for name, rows in tables.items()}
    result["found"] = judged(tables)
    result["rmse_left"] = {name: left_over(rows) for name, rows in tables.items()}
    for line in result["found"]:
        print({name: value for name, value in line.items() if name != "by_factor"})
    finish("unsure", result, options.save)


if __name__ == "__main__":
    main()
