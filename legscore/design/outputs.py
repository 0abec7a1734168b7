"""Write designs as a table and FASTA, and measure how well they hit their targets."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.design import hamming
from legscore.design.keep import text_of
from legscore.design.produce import Chosen
from legscore.design.starts import Starts, edits_of
from legscore.dna.contract import Contract
from legscore.errors import OutputError
from legscore.output.write import open_writer, output_format
from legscore.system.publish import check_writable, publishing, writing
from legscore.system.rank_order import correlation, ranks

RANDOM_QUANTILES = 200
FASTA = (".fa", ".fasta", ".fna")


def check(output: str, fasta: str | None, report: str | None) -> None:
    """OutputError unless all can be written."""
    if output != "-" and not output:
        raise OutputError("an empty name was given for the output; is a shell variable unset?")
    if not _is_fasta(output):
        output_format(output)
    if fasta is not None and not _is_fasta(fasta):
        raise OutputError(f"--fasta-out {fasta}: a FASTA file's name ends in {', '.join(FASTA)}")
    for path in (output, fasta):
        if path not in (None, "-"):
            check_writable(Path(str(path)))
    if report is not None:
        check_drawing(report)
        with writing(report):
            Path(report).mkdir(parents=True, exist_ok=True)


def check_drawing(what: str) -> None:
    """OutputError unless pictures can be drawn."""
    if importlib.util.find_spec("matplotlib") is None:
        raise OutputError(f"{what}: pictures are drawn with matplotlib: pip install 'legscore[report]'")


def _is_fasta(output: str) -> bool:
    return output.lower().endswith(FASTA)


def table_of(
    chosen: Chosen,
    target_N: np.ndarray,
    contract: Contract,
    starts: tuple[Starts, np.ndarray] | None,
    check_scores: tuple[np.ndarray, np.ndarray] | None,
    training: Starts | None,
) -> pa.Table:
    """Columns `sequence insert target score score_sd error steps seed`, then what was asked for."""
    inserts = [text_of(codes) for codes in chosen.codes_CL]
    target = target_N[chosen.row_C]
    columns: dict[str, Any] = {
        "sequence": [contract.adapter5 + insert + contract.adapter3 for insert in inserts],
        "insert": inserts,
        "target": pa.array(target, pa.float32()),
        "score": pa.array(chosen.score_C, pa.float32()),
        "score_sd": _nullable(chosen.sd_C),
        "error": pa.array(chosen.score_C - target, pa.float32()),
        "steps": pa.array(chosen.steps_C, pa.int32()),
        "seed": pa.array(chosen.seed_C, pa.int64()),
    }
    if starts is not None:
        begun, start_score = starts
        columns |= {
            "start_id": begun.names,
            "start": [text_of(codes) for codes in begun.codes_SL],
            "start_score": pa.array(start_score, pa.float32()),
            "n_edits": pa.array((begun.codes_SL != chosen.codes_CL).sum(axis=1), pa.int32()),
            "edits": edits_of(begun.codes_SL, chosen.codes_CL),
        }
    if check_scores is not None:
        columns |= {
            "check_score": pa.array(check_scores[0], pa.float32()),
            "check_sd": _nullable(check_scores[1]),
        }
    if training is not None:
        row, distance = hamming.nearest(chosen.codes_CL, training.codes_SL)
        columns |= {
            "nearest_distance": pa.array(distance, pa.int32()),
            "nearest_training": [training.names[i] for i in row],
        }
    return pa.table(columns)


def _nullable(values: np.ndarray) -> pa.Array:
    return pa.array(values, pa.float32(), mask=np.isnan(values))


def agreement(table: pa.Table, random: np.ndarray | None = None) -> dict[str, Any]:
    """How well scores follow targets: correlations (None where undefined), mean |error|, RMSE, the mean
    |error| of random sequences' scores where they are given, the same for the checking models, and
    distances."""
    target, score = (table[name].to_numpy().astype(np.float64) for name in ("target", "score"))
    found: dict[str, Any] = against_targets(target, score)
    if random is not None:
        found["random_mae"] = float(np.abs(random.astype(np.float64) - target).mean())
    if "check_score" in table.column_names:
        checked = against_targets(target, table["check_score"].to_numpy().astype(np.float64))
        found |= {f"check_{name}": value for name, value in checked.items()}
    if "nearest_distance" in table.column_names:
        distance = table["nearest_distance"].to_numpy()
        found |= {
            "nearest_distance_min": int(distance.min()),
            "nearest_distance_median": float(np.median(distance)),
        }
    return found


def against_targets(target: np.ndarray, score: np.ndarray) -> dict[str, float | None]:
    """Correlations (None where undefined), mean |error| and RMSE of scores against their targets, both
    [N]."""
    pair = (
        (correlation(score, target), correlation(ranks(score), ranks(target)))
        if len(target) > 1
        else (np.nan, np.nan)
    )
    pearson, spearman = (value if np.isfinite(value) else None for value in pair)
    error = score - target
    return {
        "pearson": pearson,
        "spearman": spearman,
        "mae": float(np.abs(error).mean()),
        "rmse": float(np.sqrt((error**2).mean())),
    }


def random_summary(scores: np.ndarray, mae: float) -> dict[str, Any]:
    """What a record keeps of the scores of random sequences, float32 [N], and of their mean |error| against
    the targets."""
    levels = (np.arange(RANDOM_QUANTILES) + 0.5) / RANDOM_QUANTILES
    return {
        "n": len(scores),
        "mae": mae,
        "score_quantiles": np.quantile(scores.astype(np.float64), levels).round(4).tolist(),
    }


def write(table: pa.Table, output: str, fasta: str | None, metadata: Mapping[str, Any]) -> None:
    """Write the designs; each file appears complete or not at all."""
    for path in (output, fasta):
        if path is not None and _is_fasta(path):
            with publishing(Path(path)) as temporary, writing(path):
                temporary.write_text(fasta_of(table))
    if not _is_fasta(output):
        with open_writer(output, output_format(output), table.schema, metadata) as writer:
            writer.write(table)


def fasta_of(table: pa.Table) -> str:
    """Inserts, with target, score and seed in the header."""
    rows = zip(*(table[name].to_pylist() for name in ("insert", "target", "score", "seed")), strict=True)
    lines = []
    for i, (insert, target, score, seed) in enumerate(rows):
        lines += [f">design{i} target={target:g} score={score:.4f} seed={seed}", insert]
    return "\n".join(lines) + "\n"


def write_record(record: Mapping[str, Any], output: str) -> None:
    """OUTPUT.run.json beside the output."""
    if output == "-":
        return
    target = Path(f"{output}.run.json")
    with publishing(target) as temporary, writing(target):
        temporary.write_text(json.dumps(record, indent=1) + "\n")
