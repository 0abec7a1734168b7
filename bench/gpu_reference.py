"""FP32 scores that engines on a GPU machine are compared with, where nothing there can compute them.

    python bench/gpu_reference.py -o reference.npz [--model models/] [--windows 512]

Written on any machine with OpenVINO or PyTorch; read with numpy alone. For each member the probe's windows
and one change of each (as fidelity is measured), scored forward and on both strands.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from legscore.dna.batch import Batch
from legscore.engine import fidelity as fid
from legscore.model.checkpoint import Checkpoint
from legscore.model.ensemble import open_members

FIELDS = ("codes_WL", "window_E", "offset_E", "base_E")


class Reference:
    """Probes and FP32 scores of members by the sha256 of their files."""

    def __init__(self, path: str | Path) -> None:
        with np.load(path, allow_pickle=False) as held:
            self._held = {name: held[name] for name in held.files}

    def batch(self, member: Checkpoint) -> Batch:
        """The probe: windows, then one change of each. SystemExit for a member that is not in the file."""
        key = member.sha256[:16]
        if f"{key} codes_WL" not in self._held:
            raise SystemExit(
                f"the reference has no scores of {member.name}; write it again with gpu_reference.py"
            )
        return Batch(*(self._held[f"{key} {name}"] for name in FIELDS))

    def scores(self, member: Checkpoint, *, both: bool) -> np.ndarray:
        """float32 [windows and changes]."""
        return self._held[f"{member.sha256[:16]} {'both' if both else 'forward'}"]


def write(path: Path, members: Sequence[Checkpoint], windows: int) -> None:
    """Score the probes of distinct members and keep them."""
    from legscore.engine.reference import reference_engine

    held: dict[str, np.ndarray] = {}
    for m, member in enumerate(members):
        batch, key = fid.probe(member.contract, windows, m), member.sha256[:16]
        held |= {f"{key} {name}": getattr(batch, name) for name in FIELDS}
        with reference_engine(member, is_singleton=False) as engine:
            held[f"{key} forward"] = engine.score_forward(batch, 0)
            engine.both_strands = True
            held[f"{key} both"] = engine.score(batch)[0]
    with open(path, "wb") as stream:
        np.savez_compressed(stream, **held)  # type: ignore[arg-type]


def compared(engine: Any, members: Sequence[Checkpoint], reference: Reference, *, both: bool) -> fid.Fidelity:
    """Fidelity of an engine over its distinct members, edits made by the engine."""
    pairs = []
    for m, member in enumerate(members):
        if any(member is before for before in members[:m]):
            continue
        batch = reference.batch(member)
        found = engine.score(batch, [m])[0] if both else engine.score_forward(batch, m)
        pairs.append((found, reference.scores(member, both=both)))
    return fid.compare(pairs, "fp32 of another machine")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--model", default="", help="checkpoint or directory [the bundled models]")
    parser.add_argument("--windows", type=int, default=512)
    options = parser.parse_args()
    members = open_members([options.model] if options.model else [], False, print)
    write(options.output, members, options.windows)
    print(f"{options.output}: {len(members)} members, {options.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
