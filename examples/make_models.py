"""Train the models that were bundled first (`bundled@1`): three optimised LegNets on measured complex-medium
promoters, stored with FP16 weights. make_models_2.py trains them further.

    python examples/make_models.py gpra_yeast.parquet -o trained/ [--publish examples/models_1]

DATA holds public measurements (Vaishnav et al. 2022 and the experiments before it) as a table with sequence,
medium, split and expression_calibrated; rows of `split` train and valid in complex medium are used, which
share no family with the test sequences. Four passes, one random strand for each sequence and pass, seeds 1 to
4; the three that correlate best with the validation sequences are published. On 2 cores with AVX512-BF16
about 90 minutes; start it twice with OMP_NUM_THREADS=1 and the processes share the work. Interrupted, the
same command goes on.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from legscore.model.checkpoint import Checkpoint, load_checkpoint

SETTINGS = {"batch": 128, "rc": "random", "epochs": 4, "steps_per_epoch": 0, "max_lr": 0.0007}
PUBLISHED = 3
NOTE = (
    "trained for four passes over 48,772 measured sequences in complex medium; published LegNets saw 30 "
    "million"
)
MEDIUM = "complex medium (YPD)"


def noted(member: Checkpoint) -> Checkpoint:
    """The member with the note that is shown with it, and the medium that the construct cannot know."""
    contract = replace(member.contract, medium=MEDIUM)
    return replace(member, contract=contract, training=member.training | {"note": NOTE})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--publish", type=Path, help="folder that gets the finished models with FP16 weights")
    parser.add_argument(
        "--original", type=Path, help="publish also this model of the original network (bench/learning.py's)"
    )
    options = parser.parse_args()
    command = [
        sys.executable,
        "-m",
        "legscore",
        "train",
        str(options.data),
        "-o",
        str(options.output),
        "--preset",
        "optimized",
    ]
    command += [
        "--where",
        "medium=complex",
        "--split",
        "split",
        "--expression",
        "expression_calibrated",
        "--seeds",
        "4",
    ]
    for key, value in SETTINGS.items():
        command += ["--set", f"{key}={value}"]
    subprocess.run([*command, "--save-every", "100", "--resume"], check=True)
    trained = [load_checkpoint(path) for path in sorted(options.output.glob("seed*.safetensors"))]
    best = sorted(trained, key=lambda member: member.training["metrics"]["pearson"], reverse=True)[:PUBLISHED]
    for member in best if options.publish else ():
        noted(member).save(options.publish / f"yeast_complex_{member.name}.safetensors", half=True)
    if options.publish and options.original:
        member = load_checkpoint(options.original)
        (options.publish.parent / "original").mkdir(exist_ok=True)
        noted(member).save(
            options.publish.parent / "original" / "yeast_complex_original.safetensors", half=True
        )


if __name__ == "__main__":
    main()
