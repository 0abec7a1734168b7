"""Options of `legscore design`, checked for what can be seen without reading a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from legscore.design.constraints import Rules
from legscore.errors import LegscoreError
from legscore.generate.sample import Schedule

METHODS = ("generator", "greedy", "evolve")
PUBLISHED_FEED, PUBLISHED_EMPHASIS = "soft", 1.0
DEFAULT_CALLS = {"generator": 1, "greedy": 5000, "evolve": 1000}


@dataclass(frozen=True)
class DesignOptions:
    """Options of `legscore design`, with the command line's names and defaults."""

    target: str
    output: str
    generator: str | None = None
    models: tuple[str, ...] = ()
    check: tuple[str, ...] = ()
    n: int | None = None
    method: str = "generator"
    best_of: int | None = None
    calls: int | None = None
    seed: int = 1
    steps: int = 100
    shift: int = 30
    start_mutations: int | None = None
    feed: str | None = None
    emphasis: float | None = None
    rules: Rules = field(default_factory=Rules)
    min_distance: int = 1
    start: str | None = None
    length: int | None = None
    training: str | None = None
    fasta: str | None = None
    report: str | None = None
    force: bool = False
    rc: str | None = None
    engine: str = "auto"
    precision: str = "auto"
    device: str | None = None

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise LegscoreError(f"method is {self.method!r}; known are {', '.join(METHODS)}")
        if (self.method == "generator") != (self.generator is not None):
            needed = (
                "needs a generator: -g GENERATOR"
                if self.method == "generator"
                else "uses no generator; drop -g"
            )
            raise LegscoreError(f"--method {self.method} {needed}")
        if self.best_of is not None and (self.method != "generator" or self.calls is not None):
            raise LegscoreError(
                "--best-of is the generator's number of candidates; searches take --calls; give one of them"
            )
        self.schedule({})  # checks it
        if self.budget < 1:
            raise LegscoreError("--best-of and --calls must be at least 1")
        if self.emphasis is not None and not 0 < self.emphasis <= 100:
            raise LegscoreError(f"--emphasis {self.emphasis:g}: above 0, at most 100")
        if not 0 <= self.seed < 1 << 48:
            raise LegscoreError(f"--seed {self.seed}: from 0 to {(1 << 48) - 1:,}")

    @property
    def budget(self) -> int:
        """Predictor calls for each design."""
        return next(n for n in (self.best_of, self.calls, DEFAULT_CALLS[self.method]) if n is not None)

    def schedule(self, own: Mapping[str, Any]) -> Schedule:
        """The loop as asked for; `own` is what the generator's record recommends where nothing is."""
        start = self.steps if self.start_mutations is None else self.start_mutations
        return Schedule(self.steps, self.shift, start, self.feed or own.get("feed") or PUBLISHED_FEED)

    def described(self) -> dict[str, Any]:
        """What defines the designs, without paths."""
        return {
            "method": self.method,
            "target": self.target.rpartition("/")[2],
            "seed": self.seed,
            "calls": self.budget,
            "rules": asdict(self.rules),
            "min_distance": self.min_distance,
            "from": self.start is not None,
        }
