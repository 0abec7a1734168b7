"""How well do designs hit their targets, by models that took no part, alone and at equal numbers of predictor
calls?

1. The generator's engine gives the same designs as PyTorch (FP32).
2. The check that README shows: designs as they come, and with --best-of 4 and constraints, scored by --models
   and judged by --check and by --also; constraints are searched for in the text of every design, without
   legscore.
3. For each budget of predictor calls a design: the generator with best-of, the evolutionary search and greedy
   single-base steps, all choosing with --models and judged by --check.

    python bench/design.py [--training measured.parquet] [--n 200] [--budgets 1,16,64] [--each 40] [--save]

All of it but the seconds is decided by seeds and the engine's precision.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from machine import arguments, finish

from legscore.design.outputs import against_targets

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
MEMBER = str(EXAMPLES / "models" / "yeast_complex_{}.safetensors")
LEAST_CALLS = {"generator": 1, "evolve": 2, "greedy": 242}
"""Greedy needs 241 calls for its first step."""
MAX_LOADED_MEMBERS = (
    "pearson",
    "spearman",
    "mae",
    "check_pearson",
    "check_spearman",
    "check_mae",
    "random_mae",
)
CONSTRAINTS = [
    "--keep",
    "TATAAA",
    "--avoid",
    "EcoRI",
    "--avoid",
    "BsaI",
    "--gc",
    "30-50",
    "--max-homopolymer",
    "5",
]
ADAPTERS = ("TGCATTTTTTTCACATC", "GGTTACGGCTGTT")


def design(folder: Path, name: str, *more: str) -> tuple[dict[str, Any], pa.Table]:
    """One run of legscore design: its record and its designs."""
    output = folder / f"{name}.parquet"
    subprocess.run([sys.executable, "-m", "legscore", "design", "-q", "-o", str(output), *more], check=True)
    record: dict[str, Any] = json.loads(Path(f"{output}.run.json").read_text())
    return record, pq.read_table(output)


def constraints_hold(table: pa.Table) -> int:
    """Designs that satisfy CONSTRAINTS, by text search alone."""
    held = 0
    for row in table.to_pylist():
        insert, oligo = row["insert"], ADAPTERS[0] + row["insert"] + ADAPTERS[1]
        assert oligo == row["sequence"]
        gc = (insert.count("G") + insert.count("C")) / len(insert)
        around = len(ADAPTERS[0]) - 5  # a run that lies in an adapter alone is not the design's
        longest = re.search(r"(.)\1{5}", oligo[around:-8])
        held += (
            "TATAAA" in insert
            and not re.search("GAATTC|GGTCTC|GAGACC", oligo)
            and 0.3 <= gc <= 0.5
            and not longest
        )
    return held


def check(folder: Path, options: Any, models: list[str], generator: list[str]) -> dict[str, Any]:
    """README's check: plain, and with best-of 4 and constraints."""
    found: dict[str, Any] = {}
    for name, how in (("plain", []), ("best of 4, constraints", ["--best-of", "4", *CONSTRAINTS])):
        more = [
            "--check",
            options.check,
            "--n",
            str(options.n),
            *(["--training", options.training] if options.training else []),
        ]
        file, also = folder / f"{name.split(' ')[0]}.fa", folder / f"also_{name.split(' ')[0]}.parquet"
        record, table = design(folder, file.stem, *generator, *models, *more, *how, "--fasta", str(file))
        a = record["agreement"]
        row = {
            key: value for key, value in a.items() if key in MAX_LOADED_MEMBERS or key.startswith("nearest")
        }
        again = [
            sys.executable,
            "-m",
            "legscore",
            "run",
            "-q",
            str(file),
            "-m",
            options.also,
            "-o",
            str(also),
        ]
        subprocess.run(again, check=True)
        judged = against_targets(table["target"].to_numpy(), pq.read_table(also)["score"].to_numpy())
        row |= {f"also_{key}": judged[key] for key in ("pearson", "spearman", "mae")}
        if how:
            row["constraints_hold"] = constraints_hold(table)
        found[name] = row | {
            "designs": record["designs"],
            "engine_share": record["engine_share"],
            "seconds": record["seconds"],
        }
        for judge, prefix in (("--models", ""), ("--check", "check_"), ("--also", "also_")):
            print(
                f"{name}, by {judge}: Spearman {row[f'{prefix}spearman']:.3f}, error "
                f"{row[f'{prefix}mae']:.2f}"
            )
        print(f"error of random sequences: {a['random_mae']:.2f}")
        if how:
            print(f"constraints hold in {row['constraints_hold']} of {record['designs']}")
            assert row["constraints_hold"] == record["designs"] == options.n
    return found


def budgets(folder: Path, options: Any, models: list[str], generator: list[str]) -> dict[str, Any]:
    """Methods at equal numbers of predictor calls."""
    found: dict[str, Any] = {}
    for budget in map(int, options.budgets.split(",")):
        for method in ("generator", "evolve", "greedy"):
            if budget < LEAST_CALLS[method]:
                continue
            how = [
                "--method",
                method,
                "--calls",
                str(budget),
                "--check",
                options.check,
                "--n",
                str(options.each),
            ]
            record, _ = design(
                folder, f"{method}{budget}", *models, *how, *(generator if method == "generator" else ())
            )
            a = record["agreement"]
            found[f"{method} {budget}"] = {key: a[key] for key in MAX_LOADED_MEMBERS} | {
                key: record[key] for key in ("predictor_calls_per_design", "seconds", "engine_share")
            }
            print(
                f"{method:9} {budget:5} calls: own error {a['mae']:.2f}; by --check Spearman "
                f"{a['check_spearman']:.3f}, "
                f"error {a['check_mae']:.2f} (random {a['random_mae']:.2f}); {record['seconds']:.0f} s"
            )
    return found


def main() -> None:
    options = arguments(
        (__doc__ or "").replace("%", "%%"),
        generator=str(EXAMPLES / "generator" / "yeast_complex_generator.safetensors"),
        models=",".join(MEMBER.format(name) for name in ("seed1", "seed3")),
        check=MEMBER.format("seed4"),
        also=str(EXAMPLES / "original" / "yeast_complex_original.safetensors"),
        training="",
        target="6:15",
        n=200,
        budgets="1,16,64",
        each=40,
        note="",
        save_as="design",
    )
    models = [word for path in options.models.split(",") for word in ("-m", path)] + [
        "--target",
        options.target,
    ]
    generator = ["-g", options.generator]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        few = [*generator, *models, "--n", "16", "--precision", "fp32", "--min-distance", "0"]
        alike = [
            design(folder, engine, *few, "--engine", engine)[1]["insert"].to_pylist()
            for engine in ("openvino", "torch")
        ]
        same = float(
            np.mean(
                [a == b for one, other in zip(*alike, strict=True) for a, b in zip(one, other, strict=True)]
            )
        )
        print(f"openvino and torch, FP32: {same:.2%} of bases alike")
        assert same > 0.98, "the engines disagree"
        checked = check(folder, options, models, generator)
        found = budgets(folder, options, models, generator)
    names = {
        key: [Path(path).stem for path in getattr(options, key).split(",")]
        for key in ("models", "check", "also")
    }
    result = {
        "same_bases_as_torch": same, **names, "target": options.target, "n": options.n,
        "check_of_readme": checked, "each": options.each, "found": found, "note": options.note,
    }  # fmt: skip
    finish(options.save_as, result, options.save)


if __name__ == "__main__":
    main()
