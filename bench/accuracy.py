"""How right are models? Scores of measured yeast promoters that were not trained on, next to published
models' on the same rows.

Needs the public tables of Vaishnav et al. 2022 with published predictions, as Parquet: predictions_native,
predictions_drift (sequence, original_seq, n_mut, measured, measured_original, legnet, transformer, ...) and
native_variants_measured (ref_seq, alt_seq, complex_delta). Levels are correlated with measured expression,
effects with the difference of two measurements.

    python bench/accuracy.py --data FOLDER [--models models/] [--medium complex] [--save]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from machine import arguments, finish
from scipy.stats import pearsonr, spearmanr

import legscore


def correlate(predicted: np.ndarray, measured: np.ndarray) -> dict[str, float]:
    """Pearson and Spearman over the rows where both are known."""
    known = np.isfinite(predicted) & np.isfinite(measured)
    x, y = predicted[known], measured[known]
    return {"pearson": float(pearsonr(x, y)[0]), "spearman": float(spearmanr(x, y)[0]), "n": int(known.sum())}


def column(table: Any, name: str) -> np.ndarray:
    return np.asarray(table[name].to_numpy(), dtype=np.float64)


def main() -> None:
    options = arguments(__doc__ or "", data="", models="", medium="complex", save_as="accuracy")
    folder = Path(options.data)
    with legscore.load_ensemble([options.models] if options.models else []) as ensemble:

        def members(texts: Any) -> np.ndarray:
            return ensemble.score(texts, sequence_is="oligo", per_member=True, invalid="nan").astype(
                np.float64
            )

        found: dict[str, dict[str, dict[str, float]]] = {}

        def compare(
            what: str, scores_MN: np.ndarray, measured: np.ndarray, published: dict[str, np.ndarray]
        ) -> None:
            known = np.isfinite(measured) & np.isfinite(scores_MN).all(axis=0)
            for values in published.values():
                known &= np.isfinite(values)
            rows = {
                name: scores[known]
                for name, scores in zip((m.name for m in ensemble.members), scores_MN, strict=True)
            }
            if len(scores_MN) > 1:
                rows["ensemble"] = scores_MN.mean(axis=0)[known]
            rows |= {f"published {name}": values[known] for name, values in published.items()}
            found[what] = {name: correlate(values, measured[known]) for name, values in rows.items()}

        native = _table(folder / "predictions_native.parquet", options.medium)
        compare(
            "native levels",
            members(native["sequence"]),
            column(native, "measured"),
            {name: column(native, name) for name in ("legnet", "transformer")},
        )
        drift = _table(folder / "predictions_drift.parquet", options.medium)
        mutated, ancestor = members(drift["sequence"]), members(drift["original_seq"])
        compare(
            "drift levels",
            mutated,
            column(drift, "measured"),
            {name: column(drift, name) for name in ("legnet", "transformer")},
        )
        published = {
            name: column(drift, name) - column(drift, f"{name}_original")
            for name in ("legnet", "transformer")
        }
        compare(
            "drift effects",
            mutated - ancestor,
            column(drift, "measured") - column(drift, "measured_original"),
            published,
        )
        if options.medium == "complex":
            variants = pq.read_table(folder / "native_variants_measured.parquet")
            effects = members(variants["alt_seq"]) - members(variants["ref_seq"])
            columns = {name: f"complex_{name}_delta" for name in ("legnet", "transformer")}
            compare(
                "native variant effects",
                effects,
                column(variants, "complex_delta"),
                {name: column(variants, c) for name, c in columns.items()},
            )
        engine = ensemble.engine
    for what, models in found.items():
        print(f"\n{what} ({next(iter(models.values()))['n']:,} rows, {options.medium} medium)")
        for name, result in models.items():
            print(f"  {name:24s} Pearson {result['pearson']:.4f}  Spearman {result['spearman']:.4f}")
    finish(options.save_as, {"medium": options.medium, "engine": engine, "models": found}, options.save)


def _table(path: Path, medium: str) -> Any:
    table = pq.read_table(path)
    return table.filter(pc.equal(table["medium"], medium))


if __name__ == "__main__":
    main()
