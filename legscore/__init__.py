"""legscore scores DNA variants with LegNet ensembles.

    legscore.score_file("variants.parquet", "scores.parquet", models="models/")
    legscore.score_genome("cohort.vcf.gz", "scored.vcf.gz", fasta="genome.fa", regions_bed="tiles.bed")
    legscore.score_table(frame, models="models/").read_all()
    with legscore.load_ensemble("models/") as ensemble:
        scores = ensemble.score(["ACGT..."])

Importing this imports no torch, no openvino and no CUDA.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from legscore.version import __version__

__all__ = [
    "Contract",
    "Effects",
    "Ensemble",
    "LegscoreError",
    "LegscoreWarning",
    "SaturationMap",
    "SaturationMaps",
    "__version__",
    "build_variants",
    "load_ensemble",
    "score_file",
    "score_genome",
    "score_table",
]

if TYPE_CHECKING:
    from legscore.api.loading import load_ensemble, score_table
    from legscore.api.scoring import score_file, score_genome
    from legscore.api.variant_tables import build_variants
    from legscore.dna.contract import Contract
    from legscore.errors import LegscoreError, LegscoreWarning
    from legscore.run.in_memory import Ensemble
    from legscore.run.memory_results import Effects, SaturationMap, SaturationMaps

_HOME = {
    "Contract": "legscore.dna.contract",
    "Effects": "legscore.run.memory_results",
    "Ensemble": "legscore.run.in_memory",
    "LegscoreError": "legscore.errors",
    "LegscoreWarning": "legscore.errors",
    "SaturationMap": "legscore.run.memory_results",
    "SaturationMaps": "legscore.run.memory_results",
    "build_variants": "legscore.api.variant_tables",
    "load_ensemble": "legscore.api.loading",
    "score_file": "legscore.api.scoring",
    "score_genome": "legscore.api.scoring",
    "score_table": "legscore.api.loading",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'legscore' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__doc__", "__file__", "__name__", "__path__"])
