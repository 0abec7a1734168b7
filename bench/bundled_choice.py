"""Which bundled ensemble do the rows that validate choose? Those of make_models_2.py, in its two parts.

Rows of complex medium, and native tiles held out as whole families: neither ensemble's members trained on
them. Test rows are not looked at (accuracy.py does). Expected: the ensemble that is bundled is ahead in both.
Needs gpra_yeast, predictions_native, predictions_drift, native_variants_measured (Parquet), promoters23.tsv.

    python bench/bundled_choice.py --data FOLDER [--save]
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
from machine import arguments, finish
from scipy.stats import pearsonr, spearmanr

import legscore

SCRIPT = Path(__file__).resolve().parents[1] / "examples/make_models_2.py"
APART = ("predictions_native.parquet", "predictions_drift.parquet", "native_variants_measured.parquet")


def main() -> None:
    options = arguments(__doc__ or "", data="")
    folder = Path(options.data)
    spec = importlib.util.spec_from_file_location("make_models_2", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    tables = [folder / name for name in (*APART, "promoters23.tsv")]
    rows = script.mix(script.read(folder / "gpra_yeast.parquet"), tables)
    counts = {
        "training rows": pc.sum(pc.equal(rows["split"], "train")).as_py(),
        "of them native tiles": pc.sum(
            pc.and_(pc.equal(rows["split"], "train"), pc.equal(rows["set"], script.TILES_SET))
        ).as_py(),
    }
    valid = rows.filter(pc.equal(rows["split"], "valid"))
    is_tile = np.asarray(pc.equal(valid["set"], script.TILES_SET))
    measured = valid["expression_calibrated"].to_numpy()
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in ("bundled@1", "bundled"):
        with legscore.load_ensemble(name) as ensemble:
            scores = ensemble.score(valid["sequence"], sequence_is="oligo", invalid="nan").astype(np.float64)
        for part, chosen in (("complex medium", ~is_tile), ("native tiles", is_tile)):
            known = chosen & np.isfinite(scores)
            found.setdefault(part, {})[name] = {
                "n": int(known.sum()),
                "pearson": float(pearsonr(scores[known], measured[known])[0]),
                "spearman": float(spearmanr(scores[known], measured[known])[0]),
            }
            print(f"{part}, {name}: Pearson {found[part][name]['pearson']:.4f}")
    ahead = all(part["bundled"]["pearson"] > part["bundled@1"]["pearson"] for part in found.values())
    finish("bundled_choice", {"rows": counts, "validation": found, "ahead": ahead}, options.save)
    raise SystemExit(not ahead)


if __name__ == "__main__":
    main()
