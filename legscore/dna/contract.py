"""The sequence contract: what a model reads and what its score means.

Codes are uint8 with A,G,C,T,N = 0,1,2,3,4 everywhere (upstream's order, so the complement of a base is
3 - code and N stays 4). A checkpoint whose first convolution expects another alphabet order is reordered
when its graph is built, never when sequences are encoded.

Source of the yeast and human constructs: Penzar et al. 2023 (LegNet) and Agarwal et al. 2025 (lentiMPRA).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from legscore.errors import ModelError

BASES = "AGCT"
N_CODE = 4
INVALID_CODE = 255
EXTRA_CHANNELS = ("is_reverse", "is_singleton")
GENERATOR_CHANNELS = ("expression", "n_mutations")
"""Extra channels of a generator: the expression wanted, and how many mutations it is told its input
carries."""
ORIGIN = ("organism", "medium", "assay")
"""Fields of a contract that say what was measured, which old checkpoints lack."""
MOST_LETTERS = 100
OUTPUT_KINDS = ("bins", "scalar", "bases")
MAX_LENGTH = 32_767
"""Offsets in a window are int16."""


def _code_table() -> np.ndarray:
    table = np.full(256, INVALID_CODE, dtype=np.uint8)
    for letters, code in (("Aa", 0), ("Gg", 1), ("Cc", 2), ("TtUu", 3), ("NRYSWKMBDHVnryswkmbdhv", N_CODE)):
        for letter in letters:
            table[ord(letter)] = code
    table.setflags(write=False)
    return table


CODE_OF_BYTE = _code_table()
"""uint8 [256]: ASCII byte → code; lower case and U accepted, IUPAC ambiguity is N, all else INVALID_CODE."""

COMPLEMENT = np.array([3, 2, 1, 0, N_CODE], dtype=np.uint8)
"""uint8 [5]: code → code of the complementary base."""


def reverse_complement(bases_NL: np.ndarray, complement: np.ndarray = COMPLEMENT) -> np.ndarray:
    """The other strand of rows of bases.

    Args:
        bases_NL: uint8 [N, L], codes, or letters with a `complement` for letters.
        complement: uint8 [at most 256], base → base of the other strand; by default of codes (N stays N).

    Returns:
        uint8 [N, L], read-only.
    """
    if not bases_NL.size:
        return bases_NL
    table = complement.tobytes() + bytes(256 - len(complement))
    return np.frombuffer(bases_NL[:, ::-1].tobytes().translate(table), dtype=np.uint8).reshape(bases_NL.shape)


@dataclass(frozen=True)
class Output:
    """What the score is. `kind` is `bins` (expectation over bins min..max), `scalar`, or `bases` (a
    generator, whose output is DNA: `unit`, min and max are then those of the expression it was trained to aim
    at); `floor` is the level below which predictions do not go (None when unknown)."""

    kind: str
    unit: str
    min: float | None = None
    max: float | None = None
    floor: float | None = None


@dataclass(frozen=True, repr=False)
class Contract:
    """Sequence contract of a checkpoint; every member of an ensemble has the same one.

    Attributes:
        alphabet: order of the four base channels in the checkpoint's first convolution.
        channels: channels of the first convolution in order: the four bases, then extras
            (`is_reverse`, `is_singleton`), each constant over the length.
        n_value: what each base channel holds at an N (0.25 or 0).
        length: bases of the window the model reads.
        flank5, flank3: fixed DNA before and after an insert; the window is the last `length` bases of
            flank5 + insert + flank3. A generator's window is the insert alone, and the flanks are where its
            designs belong.
        adapter5, adapter3: the parts of the flanks that an oligo carries; adapter5 ends flank5,
            adapter3 starts flank3. They may be longer than the flanks, of which a cropped window holds only
            what lies next to the insert.
        insert_min, insert_max: lengths an insert may have.
        rc_trained: whether the model was trained on both strands of the whole window.
        output: meaning of the score.
        organism, medium, assay: what was measured: the species, what its cells grew in (or which cell line it
            was), the experiment; "" where it is not known.
    """

    alphabet: str
    channels: tuple[str, ...]
    n_value: float
    length: int
    flank5: str
    flank3: str
    adapter5: str
    adapter3: str
    insert_min: int
    insert_max: int
    rc_trained: bool
    output: Output
    organism: str = ""
    medium: str = ""
    assay: str = ""

    def __post_init__(self) -> None:
        def refuse(what: str) -> ModelError:
            return ModelError(f"sequence contract: {what}")

        if not isinstance(self.alphabet, str) or sorted(self.alphabet) != sorted(BASES):
            raise refuse(f"alphabet is {self.alphabet!r}; it must order the letters A, C, G, T")
        if self.channels[:4] != tuple(self.alphabet):
            raise refuse(
                f"channels begin {self.channels[:4]}; they must begin with the alphabet {self.alphabet}"
            )
        extras = self.channels[4:]
        if self.is_generator and extras != GENERATOR_CHANNELS:
            raise refuse(f"extra channels are {extras}; a generator has {', '.join(GENERATOR_CHANNELS)}")
        known = GENERATOR_CHANNELS if self.is_generator else EXTRA_CHANNELS
        if any(extra not in known for extra in extras) or len(set(extras)) != len(extras):
            raise refuse(f"extra channels are {extras}; known are {', '.join(known)}, each at most once")
        if self.n_value not in (0.0, 0.25):
            raise refuse(f"n_value is {self.n_value!r}; it must be 0.25 or 0")
        for name in ("flank5", "flank3", "adapter5", "adapter3"):
            value = getattr(self, name)
            if not isinstance(value, str) or set(value) - set(BASES):
                raise refuse(f"{name} must be a string of upper-case A, C, G, T")
        # where the window is cropped within an adapter, the flank is the part of the adapter that is read
        if not self.flank5.endswith(self.adapter5) and not self.adapter5.endswith(self.flank5):
            raise refuse("adapter5 must end flank5, and flank5 must end it where it is the shorter one")
        if not self.flank3.startswith(self.adapter3) and not self.adapter3.startswith(self.flank3):
            raise refuse("adapter3 must start flank3, and flank3 must start it where it is the shorter one")
        if not 1 <= self.length <= MAX_LENGTH:
            raise refuse(f"length is {self.length}; it must be 1 to {MAX_LENGTH:,}")
        if not 1 <= self.insert_min <= self.insert_max:
            raise refuse(
                f"insert_min {self.insert_min} and insert_max {self.insert_max} are not 1 <= min <= max"
            )
        if self.is_generator:
            if not self.insert_min == self.insert_max == self.length:
                raise refuse(f"a generator of {self.length} bases makes inserts of that length")
            if self.output.min is None or self.output.max is None or not self.output.min < self.output.max:
                raise refuse("a generator needs the range of expression that it aims at (output min and max)")
        elif self.insert_max + len(self.flank3) > self.length:
            raise refuse(
                f"insert_max {self.insert_max} + flank3 {len(self.flank3)} exceeds length {self.length}"
            )
        elif len(self.flank5) + self.insert_min + len(self.flank3) < self.length:
            raise refuse("flank5 + the shortest insert + flank3 does not fill the window")
        if self.output.kind not in OUTPUT_KINDS:
            raise refuse(f"output kind is {self.output.kind!r}; known are {', '.join(OUTPUT_KINDS)}")
        for bound in (self.output.min, self.output.max, self.output.floor):
            if bound is not None and not math.isfinite(bound):
                raise refuse("output bounds must be finite numbers")
        if self.output.kind == "bins" and self.output.min != 0:
            raise refuse(f"bins count from 0, not from {self.output.min}")
        for name in ORIGIN:
            value = getattr(self, name)
            if not isinstance(value, str) or len(value) > MOST_LETTERS or not value.isprintable():
                raise refuse(f"{name} must be a line of at most {MOST_LETTERS} letters")

    @property
    def is_generator(self) -> bool:
        """Whether the model makes DNA instead of scoring it."""
        return self.output.kind == "bases"

    @property
    def extras(self) -> tuple[str, ...]:
        """Channels after the four bases, in order."""
        return self.channels[4:]

    def window(self, insert: str) -> str:
        """The window around one insert, as text: the readable twin of `legscore.rows.reading`."""
        if not self.insert_min <= len(insert) <= self.insert_max:
            raise ValueError(
                f"insert has {len(insert)} bases; the contract takes {self.insert_min}-{self.insert_max}"
            )
        return insert if self.is_generator else (self.flank5 + insert + self.flank3)[-self.length :]

    def in_genome(self, length: int) -> Contract:
        """The same reading of windows cut whole from a genome: `length` bases, no flanks. ModelError for an
        impossible length."""
        return replace(
            self,
            length=length,
            flank5="",
            flank3="",
            adapter5="",
            adapter3="",
            insert_min=length,
            insert_max=length,
        )

    @property
    def context(self) -> str:
        """What windows are made of, in words: inserts in their `construct`, or whole windows of genome."""
        whole = self == self.in_genome(self.length)
        return f"genome ({self.length} bases)" if whole else "construct"

    def cropped(self, insert: int, flank: int) -> Contract:
        """The same assay read on the forward strand alone, in a window that ends near the insert.

        Args:
            insert: the one length that inserts then have.
            flank: bases read on either side of the insert, or fewer where the window holds fewer.

        Raises:
            ModelError: the contract takes no inserts of that length.
        """
        if not self.insert_min <= insert <= self.insert_max:
            raise ModelError(
                f"inserts of {insert} bases: these models take {self.insert_min} to {self.insert_max}"
            )
        flank5 = self.flank5[max(0, len(self.flank5) - min(flank, self.length - insert - len(self.flank3))) :]
        flank3 = self.flank3[:flank]
        return replace(
            self,
            channels=self.channels[:4],
            length=len(flank5) + insert + len(flank3),
            flank5=flank5,
            flank3=flank3,
            insert_min=insert,
            insert_max=insert,
            rc_trained=False,
        )

    def describe_origin(self) -> str:
        """What was measured, for people: organism, medium and assay as far as they are known."""
        known = [self.organism or "organism unknown", self.medium, self.assay]
        return ", ".join(text for text in known if text)

    def __repr__(self) -> str:
        return f"<Contract: {self.describe()}>"

    def _repr_html_(self) -> str:
        from legscore.system.notebook_tables import facts_as_html

        shown = {"score" if not self.is_generator else "targets": self.output.unit,
                 "measured": self.describe_origin(), "reads": f"{self.length} bp: {' '.join(self.channels)}",
                 "insert": f"{self.insert_min}-{self.insert_max} bp", "flank5": self.flank5, "flank3":
                 self.flank3, "strands": "both" if self.rc_trained else "forward"}  # fmt: skip
        return facts_as_html("Contract", shown)

    def describe(self) -> str:
        """One line for people."""
        inserts = str(self.insert_min)
        if self.insert_max != self.insert_min:
            inserts += f"-{self.insert_max}"
        reads = f"channels {' '.join(self.channels)}, N = {self.n_value:g}"
        strands = "both strands trained" if self.rc_trained else "forward strand trained"
        if self.is_generator:
            return (
                f"{self.describe_origin()}; generator of {self.length}-bp inserts, {reads}, "
                f"targets {self.output.min:g}-{self.output.max:g}: {self.output.unit}"
            )
        return (
            f"{self.describe_origin()}; {self.length}-bp window, inserts {inserts} bp, {reads}, {strands}, "
            f"score: {self.output.unit}"
        )

    def to_json(self) -> dict[str, Any]:
        data: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "output"}
        data = {name: value for name, value in data.items() if name not in ORIGIN or value}
        data["channels"] = list(self.channels)
        data["output"] = {f.name: getattr(self.output, f.name) for f in fields(self.output)}
        return data

    @classmethod
    def from_json(cls, data: Any) -> Contract:
        """Read `to_json()`'s dictionary back; ModelError on anything missing, unknown or of a wrong type."""
        kinds: dict[str, type | tuple[type, ...]] = {
            "alphabet": str, "channels": list, "n_value": (int, float), "length": int, "flank5": str,
            "flank3": str, "adapter5": str, "adapter3": str, "insert_min": int, "insert_max": int,
            "rc_trained": bool, "output": dict,
        }  # fmt: skip
        _check_fields("contract", data, kinds, dict.fromkeys(ORIGIN, str))
        number = (int, float, type(None))
        output = data["output"]
        _check_fields(
            "contract.output",
            output,
            {"kind": str, "unit": str, "min": number, "max": number, "floor": number},
        )
        if not all(isinstance(channel, str) for channel in data["channels"]):
            raise ModelError("contract.channels must hold strings")
        try:
            values = {**data, "channels": tuple(data["channels"]), "n_value": float(data["n_value"])}
            bounds = {
                name: None if output[name] is None else float(output[name])
                for name in ("min", "max", "floor")
            }
        except OverflowError:
            raise ModelError("contract: a number is too large") from None
        values["output"] = Output(kind=output["kind"], unit=output["unit"], **bounds)
        return cls(**values)

    def difference(self, other: Contract) -> str:
        """The first field in which two contracts differ, as `name: a, not b`; empty when they go together. An
        origin that is not known goes with any."""
        for f in fields(self):
            mine, theirs = getattr(self, f.name), getattr(other, f.name)
            if mine != theirs and (f.name not in ORIGIN or (mine and theirs)):
                return f"{f.name} is {theirs!r}, not {mine!r}"
        return ""


def _check_fields(
    where: str, data: Any, kinds: dict[str, Any], optional: Mapping[str, Any] | None = None
) -> None:
    if not isinstance(data, dict):
        raise ModelError(f"{where} must be a JSON object")
    for name in kinds:
        if name not in data:
            raise ModelError(f"{where} lacks {name!r}")
    kinds = {**kinds, **(optional or {})}
    for name, value in data.items():
        if name not in kinds:
            raise ModelError(f"{where} has an unknown entry {name!r}")
        wrong_bool = isinstance(value, bool) and kinds[name] is not bool
        if wrong_bool or not isinstance(value, kinds[name]):
            raise ModelError(f"{where}.{name} is {value!r}, of the wrong type")
