"""Constructs to train on: the DNA around an insert, from the published ones or a TOML file.

length = 150                    # bases of the window
flank5 = "AGTCC...ACATC"        # fixed DNA before the insert; the window is the last `length` bases
flank3 = "GGTTACGGCTGTT"        # fixed DNA after it
adapter5 = "TGCATTTTTTTCACATC"  # the part of flank5 that an oligo carries
adapter3 = "GGTTACGGCTGTT"      # the part of flank3 that an oligo carries
insert_min = 1
insert_max = 137
unit = "mean sorting bin (0-17) of log reporter fluorescence"
downstream = ""                 # DNA after the window: what a shift moves in
organism = "Saccharomyces cerevisiae"
medium = "complex medium (YPD)" # or a cell line, such as K562
assay = "GPRA"
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from legscore.dna.constructs import (
    HUMAN_CONSTRUCT,
    HUMAN_DOWNSTREAM,
    HUMAN_ORIGIN,
    YEAST_CONSTRUCT,
    YEAST_ORIGIN,
)
from legscore.dna.contract import BASES, ORIGIN
from legscore.errors import LegscoreError, nearest
from legscore.system.small_files import read_toml


@dataclass(frozen=True)
class Construct:
    """Fields of `legscore.dna.contract.Contract` that describe the DNA, the unit of the score, what lies
    around, and what was measured."""

    length: int
    flank5: str
    flank3: str
    adapter5: str
    adapter3: str
    insert_min: int
    insert_max: int
    unit: str = "expression"
    downstream: str = ""
    organism: str = ""
    medium: str = ""
    assay: str = ""

    def __post_init__(self) -> None:
        if set(self.downstream) - set(BASES):
            raise LegscoreError("construct: downstream must hold upper-case A, C, G, T only")

    def contract_fields(self) -> dict[str, Any]:
        """What a contract takes of it."""
        return {name: value for name, value in asdict(self).items() if name not in ("unit", "downstream")}


CONSTRUCTS = {
    "yeast": Construct(
        **YEAST_CONSTRUCT, unit="mean sorting bin (0-17) of log reporter fluorescence", **YEAST_ORIGIN
    ),
    "human": Construct(
        **HUMAN_CONSTRUCT, unit="log2(RNA/DNA)", **HUMAN_ORIGIN,
        downstream=HUMAN_DOWNSTREAM,
    ),
}  # fmt: skip
"""The yeast reporter of DREAM 2022, and the lentiMPRA vector of Agarwal et al. with the vector's bases after
it."""


def read_construct(given: Any, where: str) -> Construct:
    """A construct's name, or a table of its fields. LegscoreError on what is missing, unknown or mistyped."""
    if isinstance(given, str):
        if given not in CONSTRUCTS:
            raise LegscoreError(
                f"{where}: construct {given!r} is unknown; known are {', '.join(CONSTRUCTS)}, or a TOML file"
            )
        return CONSTRUCTS[given]
    if not isinstance(given, dict):
        raise LegscoreError(f"{where}: a construct is a name or a table")
    kinds = {f.name: (int if f.type == "int" else str) for f in fields(Construct)}
    for name, value in given.items():
        if name not in kinds:
            raise LegscoreError(f"{where}: unknown setting {name!r}{nearest(name, kinds)}")
        if type(value) is not kinds[name]:
            raise LegscoreError(
                f"{where}: {name} is {value!r}; it must be {'a number' if kinds[name] is int else 'a text'}"
            )
    needed = [f.name for f in fields(Construct) if f.name not in ("unit", "downstream", *ORIGIN)]
    if missing := [name for name in needed if name not in given]:
        raise LegscoreError(f"{where}: lacks {', '.join(missing)}")
    return Construct(**given)


def construct_file(path: str | Path) -> Construct:
    """Read a construct's TOML file."""
    return read_construct(read_toml(path, "construct"), f"construct {path}")
