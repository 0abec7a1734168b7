"""How right are models? Scores of measured yeast promoters that were not trained on, next to published
models' on the same rows, and next to another ensemble's.

Needs the public tables of Vaishnav et al. 2022 with published predictions, as Parquet: predictions_native,
predictions_drift (sequence, original_seq, n_mut, measured, measured_original, legnet, transformer, ...) and
native_variants_measured (ref_seq, alt_seq, complex_delta). Levels are correlated with measured expression,
effects with the difference of two measurements. With --against the two ensembles' difference is given with
its 95 % interval and p, from 10,000 resamples of the rows.

    python bench/accuracy.py --data FOLDER [--models models/] [--against bundled@1] [--medium M] [--save]
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from machine import arguments, finish
from scipy.stats import pearsonr, spearmanr

import legscore
from legscore.evaluate.bootstrap import PairedMetrics, Resampling, p_of_difference, resample, spread

PUBLISHED = ("legnet", "transformer")
DRAWS = 10_000
OLD = "ensemble before"


@dataclass(frozen=True)
class Question:
    """One thing to predict: scores of `texts`, less those of `references` where there are any.

    Attributes:
        measured_N: float64 [N], NaN where unknown.
        published: predictions of other models on the same rows, float64 [N] each.
    """

    texts: Any
    references: Any
    measured_N: np.ndarray
    published: dict[str, np.ndarray]


def column(table: pa.Table, name: str) -> np.ndarray:
    return np.asarray(table[name].to_numpy(), dtype=np.float64)


def questions(folder: Path, medium: str) -> dict[str, Question]:
    def read(name: str) -> pa.Table:
        table = pq.read_table(folder / f"{name}.parquet")
        return table.filter(pc.equal(table["medium"], medium))

    native, drift = read("predictions_native"), read("predictions_drift")
    found = {
        f"{name} levels": Question(
            table["sequence"], None, column(table, "measured"), {n: column(table, n) for n in PUBLISHED}
        )
        for name, table in (("native", native), ("drift", drift))
    }
    found["drift effects"] = Question(
        drift["sequence"],
        drift["original_seq"],
        column(drift, "measured") - column(drift, "measured_original"),
        {n: column(drift, n) - column(drift, f"{n}_original") for n in PUBLISHED},
    )
    if medium == "complex":
        variants = pq.read_table(folder / "native_variants_measured.parquet")
        found["native variant effects"] = Question(
            variants["alt_seq"],
            variants["ref_seq"],
            column(variants, "complex_delta"),
            {n: column(variants, f"complex_{n}_delta") for n in PUBLISHED},
        )
    return found


def predictions(ensemble: legscore.Ensemble, question: Question) -> dict[str, np.ndarray]:
    """Each member's levels or effects and the mean's, float64 [N]."""

    def members(texts: Any) -> np.ndarray:
        scores = ensemble.score(texts, sequence_is="oligo", per_member=True, invalid="nan")
        return scores.astype(np.float64)

    values_MN = members(question.texts)
    if question.references is not None:
        values_MN -= members(question.references)
    named = dict(zip((m.name for m in ensemble.members), values_MN, strict=True))
    return named | ({"ensemble": values_MN.mean(axis=0)} if len(values_MN) > 1 else {})


def correlate(predicted_N: np.ndarray, measured_N: np.ndarray) -> dict[str, float]:
    return {
        "pearson": float(pearsonr(predicted_N, measured_N)[0]),
        "spearman": float(spearmanr(predicted_N, measured_N)[0]),
        "n": len(measured_N),
    }


def difference(new_N: np.ndarray, old_N: np.ndarray, measured_N: np.ndarray) -> dict[str, Any]:
    """Correlation of the new less that of the old, with a bootstrap over the rows."""
    paired = PairedMetrics(np.stack([measured_N, new_N, old_N]), [(0, 1), (0, 2)])
    draws_SD = resample(paired, len(measured_N), Resampling(DRAWS))
    found = {}
    for i, name in enumerate(("pearson", "spearman")):
        draws_D = draws_SD[2 * i] - draws_SD[2 * i + 1]
        around = spread(draws_D, 0.95)
        value = correlate(new_N, measured_N)[name] - correlate(old_N, measured_N)[name]
        found[name] = {
            "new_minus_old": value, "low": around.low, "high": around.high, "p": p_of_difference(draws_D),
        }  # fmt: skip
    return found


def main() -> None:
    options = arguments(__doc__ or "", data="", models="", against="", medium="complex", save_as="accuracy")
    asked = questions(Path(options.data), options.medium)
    found: dict[str, dict[str, Any]] = {}
    gains: dict[str, Any] = {}
    before: dict[str, dict[str, np.ndarray]] = {}
    if options.against:
        with legscore.load_ensemble([options.against]) as old:
            before = {what: predictions(old, question) for what, question in asked.items()}
    with legscore.load_ensemble([options.models] if options.models else []) as ensemble:
        for what, question in asked.items():
            rows = predictions(ensemble, question)
            if before:
                rows[OLD] = list(before[what].values())[-1]  # the mean, or the only member
            rows |= {f"published {name}": values for name, values in question.published.items()}
            known = np.isfinite([question.measured_N, *rows.values()]).all(axis=0)
            measured_N = question.measured_N[known]
            rows = {name: values[known] for name, values in rows.items()}
            found[what] = {name: correlate(values, measured_N) for name, values in rows.items()}
            if before:
                mine = rows.get("ensemble", next(iter(rows.values())))
                gains[what] = difference(mine, rows[OLD], measured_N)
        engine = ensemble.engine
    for what, models in found.items():
        print(f"\n{what} ({next(iter(models.values()))['n']:,} rows, {options.medium} medium)")
        for name, result in models.items():
            print(f"  {name:24s} Pearson {result['pearson']:.4f}  Spearman {result['spearman']:.4f}")
        for name, gain in gains.get(what, {}).items():
            value, low, high, p = (gain[key] for key in ("new_minus_old", "low", "high", "p"))
            print(f"  {name}: {value:+.4f} ({low:+.4f} to {high:+.4f}), p {p:.2g}")
    result = {"medium": options.medium, "engine": engine, "models": found}
    finish(
        options.save_as,
        result | ({"against": options.against, "gains": gains} if gains else {}),
        options.save,
    )


if __name__ == "__main__":
    main()
