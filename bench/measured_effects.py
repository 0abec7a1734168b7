"""Do predicted effects agree with measured ones? Variants are built from the genome, scored, and set beside
measurements.

The table has variant_id, chrom, pos, ref, alt, ref_seq, alt_seq, the name of the tile (--tile), the measured
effect (--measured) and another model's prediction (--other). Effects from coordinates must equal effects from
ref_seq and alt_seq exactly, or the script ends. Prints Pearson and Spearman on the rows that have all values,
with a standard error that resamples tiles, since variants of one tile are not independent.

    python bench/measured_effects.py --table measured.parquet --fasta genome.fa.gz --tiles tiles.bed \\
        [--models DIR] [--save]
"""

from __future__ import annotations

import tempfile

import numpy as np
import polars as pl
from machine import arguments, finish
from scipy.stats import pearsonr, spearmanr

from legscore import score_file
from legscore.variants.make import make
from legscore.variants.options import BuildOptions

DRAWS = 1000


def main() -> None:
    options = arguments(
        __doc__ or "",
        table="",
        fasta="",
        tiles="",
        models="",
        measured="complex_delta",
        other="complex_legnet_delta",
        tile="promoter",
    )
    if not (options.table and options.fasta and options.tiles):
        raise SystemExit("give --table, --fasta and --tiles")
    models = [options.models] if options.models else []
    with tempfile.TemporaryDirectory() as folder:
        make(
            options.table,
            f"{folder}/v.parquet",
            BuildOptions(options.fasta, regions_bed=options.tiles),
            say=print,
        )
        built = scores(f"{folder}/v.parquet", f"{folder}/built.parquet", models)
        table = pl.read_parquet(options.table)
        table.select("variant_id", "ref_seq", "alt_seq").write_parquet(f"{folder}/given.parquet")
        given = scores(f"{folder}/given.parquet", f"{folder}/direct.parquet", models)
    table = table.join(given.select("variant_id", "effect").unique("variant_id"), on="variant_id")
    built = built.with_columns(pl.col("tile_id").cast(pl.String)).select(
        "variant_id", "tile_id", pl.col("effect").alias("built")
    )
    table = table.join(built, left_on=["variant_id", options.tile], right_on=["variant_id", "tile_id"])
    if len(table) != len(given) or not (table["effect"] == table["built"]).all():
        raise SystemExit(
            "effects from coordinates differ from effects of the sequences; no correlation of wrong effects"
        )
    print(f"{len(table):,} effects from coordinates equal those of the sequences exactly")
    whole = table.filter(pl.all_horizontal(pl.col(options.measured, options.other, "built").is_finite()))
    found = {}
    for name, column in (("legscore", "built"), (options.other, options.other)):
        x, y = whole[column].to_numpy(), whole[options.measured].to_numpy()
        found[name] = {
            "pearson": float(pearsonr(x, y)[0]),
            "spearman": float(spearmanr(x, y)[0]),
            "se": error(x, y, whole[options.tile].to_numpy()),
        }
        print(
            f"{name:24s} Pearson {found[name]['pearson']:.3f} ± {found[name]['se']:.3f}, Spearman "
            f"{found[name]['spearman']:.3f}"
        )
    print(
        f"{len(whole):,} variants in {whole[options.tile].n_unique():,} tiles; ± resamples tiles "
        f"{DRAWS:,} times"
    )
    finish("measured_effects", {"rows": len(whole), "measured": options.measured, **found}, options.save)


def scores(source: str, output: str, models: list[str]) -> pl.DataFrame:
    score_file(source, output, models=models, keep="all")
    return pl.read_parquet(output)


def error(x: np.ndarray, y: np.ndarray, tile: np.ndarray) -> float:
    """Standard error of Pearson's r over draws of tiles with replacement."""
    rng = np.random.default_rng(0)
    groups = [np.flatnonzero(tile == name) for name in np.unique(tile)]
    values = []
    for _ in range(DRAWS):
        rows = np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))])
        values.append(np.corrcoef(x[rows], y[rows])[0, 1])
    return float(np.std(values, ddof=1))


if __name__ == "__main__":
    main()
