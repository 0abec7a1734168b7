"""How fast is the paired bootstrap?

Checks first, on a small table, every draw against scipy on the drawn rows. Then times 10,000 resamples of
4,000 rows and five models: all but Spearman, and with Spearman ranked anew in each; and, for scale, sorting
anew (scipy.stats.rankdata) on a few draws. Expected: under 10 s and under 60 s on 2 cores.

    python bench/bootstrap.py [--rows 4000] [--models 5] [--draws 10000] [--rounds 3] [--save]
"""

from __future__ import annotations

import numpy as np
from machine import alternate, arguments, finish
from scipy import stats

from legscore.evaluate.bootstrap import PairedMetrics, Resampling, resample

SORTED_DRAWS = 50


def main() -> None:
    options = arguments(__doc__ or "", rows=4000, models=5, draws=10_000, rounds=3)
    check()
    columns = table(options.rows, options.models)
    pairs = [(0, i + 1) for i in range(options.models)]
    how = Resampling(options.draws, 1)
    jobs = {
        "without Spearman": lambda: resample(
            PairedMetrics(columns, pairs, spearman=False), options.rows, how
        ),
        "with Spearman": lambda: resample(PairedMetrics(columns, pairs), options.rows, how),
        "Spearman by sorting": lambda: sort_anew(columns, pairs),
    }
    rates = alternate(
        jobs,
        {name: float(SORTED_DRAWS if "sorting" in name else options.draws) for name in jobs},
        options.rounds,
    )
    seconds = {name: options.draws / rate for name, rate in rates.items()}
    for name, taken in seconds.items():
        print(
            f"{name:22s} {taken:8.1f} s for {options.draws:,} draws of {options.rows:,} rows × "
            f"{options.models} models"
        )
    print(
        f"re-ranking by sums is {seconds['Spearman by sorting'] / seconds['with Spearman']:.1f} × as fast "
        "as by sorting"
    )
    finish(
        "bootstrap",
        {"seconds": seconds, "rows": options.rows, "models": options.models, "draws": options.draws},
        options.save,
    )


def table(rows: int, models: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    truth = rng.normal(size=rows)
    return np.stack([truth, *(truth + (k + 1) * 0.2 * rng.normal(size=rows) for k in range(models))])


def check() -> None:
    """SystemExit where a draw differs from scipy's statistics of the same rows."""
    columns, pairs = np.round(table(80, 2), 1), [(0, 1), (0, 2)]
    found = resample(PairedMetrics(columns, pairs), 80, Resampling(30, 5)).reshape(4, 2, 30)
    for d, rows in enumerate(np.random.default_rng(5).integers(0, 80, (30, 80))):
        for i, (t, p) in enumerate(pairs):
            x, y = columns[t][rows], columns[p][rows]
            twin = (
                stats.pearsonr(x, y)[0],
                stats.spearmanr(x, y)[0],
                np.sqrt(np.mean((x - y) ** 2)),
                np.abs(x - y).mean(),
            )
            if not np.allclose(found[:, i, d], twin, atol=1e-12):
                raise SystemExit(
                    f"draw {d} differs from scipy: {found[:, i, d]} and {twin}; no timing of wrong numbers"
                )


def sort_anew(columns: np.ndarray, pairs: list[tuple[int, int]]) -> None:
    rng = np.random.default_rng(1)
    for rows in rng.integers(0, columns.shape[1], (SORTED_DRAWS, columns.shape[1])):
        ranked = stats.rankdata(columns[:, rows], axis=1)
        for t, p in pairs:
            np.corrcoef(ranked[t], ranked[p])


if __name__ == "__main__":
    main()
