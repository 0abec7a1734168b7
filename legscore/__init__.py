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
    "EvaluationResults",
    "LegscoreError",
    "LegscoreWarning",
    "SaturationMap",
    "SaturationMaps",
    "__version__",
    "build_variants",
    "calibrate_effects",
    "design_sequences",
    "evaluate_predictions",
    "import_model",
    "load_ensemble",
    "lookup_variants",
    "mutation_curve",
    "plot_saturation",
    "score_file",
    "score_genome",
    "score_table",
]

if TYPE_CHECKING:
    from legscore.api.designing import design_sequences, mutation_curve
    from legscore.api.evaluating import calibrate_effects, evaluate_predictions, plot_saturation
    from legscore.api.importing import import_model
    from legscore.api.loading import load_ensemble, score_table
    from legscore.api.looking_up import lookup_variants
    from legscore.api.scoring import score_file, score_genome
    from legscore.api.variant_tables import build_variants
    from legscore.dna.contract import Contract
    from legscore.errors import LegscoreError, LegscoreWarning
    from legscore.evaluate.results import EvaluationResults
    from legscore.run.in_memory import Ensemble
    from legscore.run.memory_results import Effects, SaturationMap, SaturationMaps

_HOME = {
    "Contract": "legscore.dna.contract",
    "Effects": "legscore.run.memory_results",
    "Ensemble": "legscore.run.in_memory",
    "EvaluationResults": "legscore.evaluate.results",
    "LegscoreError": "legscore.errors",
    "LegscoreWarning": "legscore.errors",
    "SaturationMap": "legscore.run.memory_results",
    "SaturationMaps": "legscore.run.memory_results",
    "build_variants": "legscore.api.variant_tables",
    "calibrate_effects": "legscore.api.evaluating",
    "design_sequences": "legscore.api.designing",
    "evaluate_predictions": "legscore.api.evaluating",
    "import_model": "legscore.api.importing",
    "load_ensemble": "legscore.api.loading",
    "lookup_variants": "legscore.api.looking_up",
    "mutation_curve": "legscore.api.designing",
    "plot_saturation": "legscore.api.evaluating",
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
