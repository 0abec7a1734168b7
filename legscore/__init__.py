"""legscore scores DNA variants with LegNet ensembles.

    legscore.score_file("variants.parquet", "scores.parquet", models="models/")
    legscore.score_genome("cohort.vcf.gz", "scored.vcf.gz", fasta="genome.fa", regions_bed="tiles.bed")
    with legscore.load_ensemble("models/") as ensemble:
        scores = ensemble.score(["ACGT..."])

Importing this imports no torch, no openvino and no CUDA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from legscore.version import __version__

__all__ = [
    "Effects",
    "Ensemble",
    "LegscoreError",
    "__version__",
    "build_variants",
    "load_ensemble",
    "score_file",
    "score_genome",
]

if TYPE_CHECKING:
    from legscore.api import Effects, Ensemble, build_variants, load_ensemble, score_file, score_genome
    from legscore.errors import LegscoreError

_HOME = {
    "Effects": "legscore.api",
    "Ensemble": "legscore.api",
    "LegscoreError": "legscore.errors",
    "build_variants": "legscore.api",
    "load_ensemble": "legscore.api",
    "score_file": "legscore.api",
    "score_genome": "legscore.api",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'legscore' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)
