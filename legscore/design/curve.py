"""How many mutations make predicted expression look random (the paper's Supplementary Figure S3).

Sequences are mutated 0, 10, 20, … times, each count going on from the one before, and scored. The
distribution of scores is compared with that of random sequences (Kolmogorov–Smirnov distance); it looks
random from the first count after which the distance stays below what 95 of 100 pairs of equal samples of this
size stay below. Where scores of starts and random sequences hardly differ to begin with, the correlation of
each score with that of its own start is what to look at.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from legscore.design.judge import Judge, load_predictors, open_judge
from legscore.design.outputs import check_drawing
from legscore.design.starts import read_starts
from legscore.engine.choose import Request
from legscore.errors import InputError
from legscore.generate.mutations import MUTATIONS, mutated
from legscore.input.files import find_files
from legscore.output.write import open_writer, output_format
from legscore.system.log import Say
from legscore.system.overwrite import check_files
from legscore.system.publish import publishing, writing
from legscore.system.rank_order import correlation
from legscore.version import __version__

LEAST_SEQUENCES = 20
KS_95 = 1.358
"""√(-ln(0.05 / 2) / 2), the large-sample factor of the two-sample test."""


@dataclass(frozen=True)
class Curve:
    """One row for each count of mutations, and the first from which scores look random (None: never)."""

    table: pa.Table
    looks_random_from: int | None


@dataclass(frozen=True)
class CurveOptions:
    """What `legscore design --mutation-curve` is asked for.

    Attributes:
        start: file of sequences whose scores carry information. output: table; plot: PNG, or None.
        models: predictors. rc: strands scored, as for designs. request: their engine.
        mutations: counts, `FIRST:LAST:STEP`. kind: `draw4` or `sub3`.
        most: sequences at most, drawn at random when there are more. seed: of draws and mutations.
        force: replace outputs that are there already.
    """

    start: str
    output: str
    models: Sequence[str] = ()
    mutations: str = "0:300:10"
    kind: str = "draw4"
    most: int | None = None
    seed: int = 1
    plot: str | None = None
    force: bool = False
    rc: str | None = None
    request: Request = field(default_factory=Request)

    def __post_init__(self) -> None:
        if self.kind not in MUTATIONS:
            raise InputError(f"--kind is {self.kind!r}; known are {', '.join(MUTATIONS)}")
        if self.seed < 0:
            raise InputError(f"--seed is {self.seed}; it must be 0 or more")
        if self.most is not None and self.most < 1:
            raise InputError(f"--most is {self.most}; it must be 1 or more")


def ks_distance(a: np.ndarray, b: np.ndarray) -> float:
    """Largest distance between two empirical distribution functions (scipy.stats.ks_2samp's statistic)."""
    every = np.sort(np.concatenate([a, b]))
    both = (np.searchsorted(np.sort(x), every, side="right") / len(x) for x in (a, b))
    return float(np.abs(np.subtract(*both)).max())


def read_counts(text: str) -> list[int]:
    """`0:300:10` → 0, 10, … 300. InputError otherwise."""
    try:
        first, last, step = (int(part) for part in text.split(":"))
    except ValueError:
        raise InputError(f"--mutations {text}: write FIRST:LAST:STEP, such as 0:300:10") from None
    if not (0 <= first < last <= 100_000 and step >= 1):
        raise InputError(f"--mutations {text}: needs 0 ≤ FIRST < LAST and a STEP of at least 1")
    return list(range(first, last + 1, step))


def mutation_curve(
    judge: Judge, start_SL: np.ndarray, counts: list[int], kind: str, seed: int, tick: Any = lambda n: None
) -> Curve:
    """Mutate, score, compare.

    Args:
        start_SL: uint8 [S, L], sequences whose scores carry information.
        counts: numbers of mutations, rising.
        kind: `draw4` or `sub3`.
    """
    rng = np.random.default_rng([seed, 31])
    random = judge.scores(rng.integers(0, 4, start_SL.shape, dtype=np.uint8)).mean(axis=0, dtype=np.float64)
    original = judge.scores(start_SL).mean(axis=0, dtype=np.float64)
    critical = KS_95 * np.sqrt(2 / len(start_SL))
    codes, done, rows = start_SL, 0, []
    for count in counts:
        codes, done = mutated(codes, count - done, kind, rng), count
        score = judge.scores(codes).mean(axis=0, dtype=np.float64) if count else original
        tick(len(codes))
        rows.append(
            {
                "n_mutations": count,
                "identity": float((codes == start_SL).mean()),
                "mean": float(score.mean()),
                "sd": float(score.std(ddof=1)),
                "q05": float(np.quantile(score, 0.05)),
                "q50": float(np.median(score)),
                "q95": float(np.quantile(score, 0.95)),
                "correlation_with_start": _number(correlation(score, original)),
                "ks_random": ks_distance(score, random),
                "ks_critical": float(critical),
                "random_mean": float(random.mean()),
                "random_sd": float(random.std(ddof=1)),
            }
        )
    table = pa.Table.from_pylist(rows)
    alike = table["ks_random"].to_numpy() <= critical
    first = next((i for i in range(len(rows)) if alike[i:].all()), None)
    return Curve(table, None if first is None else counts[first])


def _number(value: float) -> float | None:
    return value if np.isfinite(value) else None


def draw_curve(curve: Curve, path: Path, kind: str) -> None:
    """Scores (median, 5–95 %) and distance to random sequences by number of mutations, as PNG. Needs
    `legscore[report]`."""
    from matplotlib.figure import Figure

    columns = {name: curve.table[name].to_numpy(zero_copy_only=False) for name in curve.table.column_names}
    figure = Figure(figsize=(8.6, 3.6), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    n = columns["n_mutations"]
    left.fill_between(
        n, columns["q05"], columns["q95"], color="tab:blue", alpha=0.2, linewidth=0, label="5–95 %"
    )
    left.plot(n, columns["q50"], color="tab:blue", label="median")
    mean, sd = columns["random_mean"][0], columns["random_sd"][0]
    left.axhspan(mean - 1.645 * sd, mean + 1.645 * sd, color="tab:red", alpha=0.1, linewidth=0)
    left.axhline(mean, color="tab:red", linestyle="--", linewidth=1, label="random sequences (mean ± 1.6 SD)")
    left.set_ylabel("predicted expression")
    right.plot(n, columns["ks_random"], color="tab:blue", label="distance to random (Kolmogorov–Smirnov)")
    right.plot(
        n, columns["ks_critical"], color="tab:red", linestyle="--", linewidth=1, label="equal within 95 %"
    )
    right.plot(
        n,
        columns["correlation_with_start"].astype(float),
        color="tab:green",
        label="correlation with the start's score",
    )
    if curve.looks_random_from is not None:
        right.axvline(curve.looks_random_from, color="0.4", linewidth=0.8)
    for axis in (left, right):
        axis.set_xlabel(f"mutations ({kind})")
        axis.legend(fontsize=7, loc="lower left", bbox_to_anchor=(0, 1), frameon=False)
    with publishing(path) as temporary, writing(path):
        figure.savefig(temporary, format="png")


def run_curve(
    options: CurveOptions, say: Say, bar: Callable[[int, str], Callable[[int], object]]
) -> list[str]:
    """Mutate, score and compare; write the table, and the picture where one is named.

    Returns:
        Closing lines.

    Raises:
        LegscoreError: before any work, for what cannot be done.
    """
    start, output, plot, kind = options.start, options.output, options.plot, options.kind
    counts, format_name = read_counts(options.mutations), output_format(output)
    check_files({"-o": output, "--plot": plot}, [start], options.models, force=options.force)
    if plot is not None:
        check_drawing(plot)
    for line in find_files([start]).notes:
        say(line)
    members = load_predictors(options.models, say)
    starts = read_starts(start, members[0].contract, None, strict=False)
    codes = starts.codes_SL
    if options.most is not None and options.most < len(codes):
        codes = codes[
            np.sort(np.random.default_rng([options.seed, 32]).permutation(len(codes))[: options.most])
        ]
    if len(codes) < LEAST_SEQUENCES:
        raise InputError(
            f"{start}: {len(codes)} usable sequences; a distribution of scores needs at least "
            f"{LEAST_SEQUENCES}"
        )
    say(f"from: {len(codes):,} sequences of {codes.shape[1]} bases")
    judge = open_judge(members, options.rc, options.request, codes.shape[1], say)
    try:
        curve = mutation_curve(
            judge, codes, counts, kind, options.seed, bar(len(codes) * len(counts), "calls")
        )
        metadata = {
            "legscore": __version__,
            "mutation_curve": {
                "kind": kind,
                "seed": options.seed,
                "sequences": len(codes),
                "judge": judge.describe(),
            },
        }
    finally:
        judge.close()
    with open_writer(output, format_name, curve.table.schema, metadata) as writer:
        writer.write(curve.table)
    if plot is not None:
        draw_curve(curve, Path(plot), kind)
    first = curve.looks_random_from
    found = (
        f"scores look random from {first} mutations on"
        if first is not None
        else f"scores never look random up to {counts[-1]}"
    )
    return [f"{found} ({kind}; {len(codes):,} sequences)", *([f"output: {output}"] if output != "-" else [])]
