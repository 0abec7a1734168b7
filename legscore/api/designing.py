"""Sequences with a wanted score: `legscore design` as a function."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from legscore.api.calls import Paths, RunRecord, listed, listed_models, text_of
from legscore.run.python_words import speaks_python, told_in_python
from legscore.system.log import Say
from legscore.system.notebook import progress_bar


@speaks_python
def design_sequences(
    output: str | os.PathLike[str],
    *,
    target: str | float | Sequence[float],
    generator: str | os.PathLike[str] | None = None,
    models: Paths | None = None,
    check: Paths = (),
    n: int | None = None,
    method: str = "generator",
    best_of: int | None = None,
    calls: int | None = None,
    seed: int = 1,
    steps: int = 100,
    shift: int = 30,
    start_mutations: int | None = None,
    feed: str | None = None,
    emphasis: float | None = None,
    keep: str | Sequence[str] = (),
    avoid: str | Sequence[str] = (),
    gc: tuple[float, float] | None = None,
    max_homopolymer: int | None = None,
    min_distance: int = 1,
    start: str | os.PathLike[str] | None = None,
    length: int | None = None,
    training: str | os.PathLike[str] | None = None,
    fasta: str | os.PathLike[str] | None = None,
    report: str | os.PathLike[str] | None = None,
    force: bool = False,
    rc: str | None = None,
    engine: str = "auto",
    precision: str = "auto",
    device: str | None = None,
    say: Say | None = None,
    progress: bool | None = None,
) -> dict[str, Any]:
    """Design sequences with a wanted score: `legscore design` as a function.

    Args:
        output: table to write: .parquet, .arrow, .csv, .tsv (also .gz), or .fa.
        target: score wanted: a number, several, a range such as `6:15` or `6:15:0.5`, or `FILE:COLUMN`.
        generator: LegNet-Generator, trained or imported; for method `generator`.
        models: predictors that score designs; the bundled demonstration ensemble when None.
        check: models that take no part and score the finished designs.
        n: designs in all, over all targets; 100, or as many as FILE or `start` has rows, when None.
        method: `generator`, or `greedy` or `evolve`, which search with the predictors alone.
        best_of: generator: candidates of which the one nearest to the target is taken; 1 when None.
        calls: predictor calls for each design; best_of, greedy 5000, evolve 1000 when None.
        seed: of the first candidate; each has its own.
        steps: of the mutate-denoise loop.
        shift: mutations told to the generator beyond those made.
        start_mutations: positions mutated in the first step, falling to 1; steps when None.
        feed: what a step hands on: `soft` (probabilities, published) or `sample`; the generator's own when
            None.
        emphasis: tell the generator targets so many times as far from the middle of its training data.
        keep: `PLACE:BASES`, `FIRST-LAST` as in `start`, or a motif; one or several.
        avoid: IUPAC motif or enzyme (EcoRI), on both strands; one or several.
        gc: lowest and highest share of G and C in the insert, such as (0.3, 0.5).
        max_homopolymer: longest run of one base.
        min_distance: Hamming distance between any two designs.
        start: file of promoters to start from (FASTA or table); reports edits.
        length: bases of the insert, for searches; the generator's, or 80, when None.
        training: file of training sequences, to report the nearest to each design.
        fasta: also write the inserts as FASTA.
        report: folder for pictures and numbers.
        force: replace outputs that are there already.
        rc: strands scored: `construct` or `none`; construct, if trained so, when None.
        engine: `auto`, `openvino`, `native`, `tensorrt`, `torch`, or `null`, which gives zeros.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        device: NVIDIA GPU, by number; the first when None.
        say: called with one line of text for every decision, such as `print`.
        progress: whether to show a bar (`tqdm.auto`); in notebooks only when None.

    Returns:
        The record: counts, agreement of targets and scores, times; also in OUTPUT.run.json.

    Raises:
        LegscoreError: before any work, for what cannot be done; nothing is written then.

    Example:
        ```python
        legscore.design_sequences("d.parquet", target=[9, 12], n=20, method="evolve", avoid="EcoRI")
        ```
    """
    from legscore.design.constraints import Rules
    from legscore.design.make import design, summary
    from legscore.design.options import DesignOptions

    options = DesignOptions(
        target=_target(target), output=os.fspath(output), generator=text_of(generator),
        models=listed_models(models), check=listed(check), n=n, method=method, best_of=best_of,
        calls=calls, seed=seed, steps=steps, shift=shift, start_mutations=start_mutations, feed=feed,
        emphasis=emphasis, rules=Rules(listed(avoid), gc, max_homopolymer, listed(keep)),
        min_distance=min_distance, start=text_of(start), length=length, training=text_of(training),
        fasta=text_of(fasta), report=text_of(report), force=force, rc=rc, engine=engine,
        precision=precision, device=device,
    )  # fmt: skip
    told = told_in_python(say)
    record = _with_bar(lambda bar: design(options, told, bar), progress)
    for line in summary(record):
        told(line)
    return RunRecord(record)


@speaks_python
def mutation_curve(
    start: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    models: Paths | None = None,
    mutations: str = "0:300:10",
    kind: str = "draw4",
    most: int | None = None,
    seed: int = 1,
    plot: str | os.PathLike[str] | None = None,
    force: bool = False,
    rc: str | None = None,
    engine: str = "auto",
    precision: str = "auto",
    device: str | None = None,
    say: Say | None = None,
    progress: bool | None = None,
) -> list[str]:
    """How many mutations make scores look random: `legscore design --mutation-curve` as a function.

    Args:
        start: file of sequences with scores of their own, such as native promoters (FASTA or table).
        output: table to write, one row for each count of mutations.
        models: predictors; the bundled demonstration ensemble when None.
        mutations: counts, `FIRST:LAST:STEP`.
        kind: of mutations: `draw4` (any base, perhaps the same) or `sub3` (another base).
        most: sequences at most, drawn at random when there are more.
        seed: of draws and mutations.
        plot: picture to draw, a PNG.
        force: replace outputs that are there already.
        rc: strands scored: `construct` or `none`; construct, if trained so, when None.
        engine: `auto`, `openvino`, `native`, `tensorrt`, `torch`, or `null`, which gives zeros.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        device: NVIDIA GPU, by number; the first when None.
        say: called with one line of text for every decision, such as `print`.
        progress: whether to show a bar (`tqdm.auto`); in notebooks only when None.

    Returns:
        What was found, in lines.

    Raises:
        LegscoreError: before any work, for what cannot be done.
    """
    from legscore.design.curve import CurveOptions, run_curve
    from legscore.engine.choose import Request

    request = Request(engine, precision, device=device)
    options = CurveOptions(
        os.fspath(start), os.fspath(output), listed_models(models), mutations, kind, most, seed,
        text_of(plot), force, rc, request,
    )  # fmt: skip
    told = told_in_python(say)
    return _with_bar(lambda bar: run_curve(options, told, bar), progress)


def _with_bar(work: Callable[[Any], Any], progress: bool | None) -> Any:
    """Do work that calls (total, unit) once it knows them, for what takes the work done."""
    import contextlib

    with contextlib.ExitStack() as stack:
        return work(lambda total, unit: stack.enter_context(progress_bar(progress, "designing", total, unit)))


def _target(target: str | float | Sequence[float]) -> str:
    """As the option takes it: 12, or 6,9,12."""
    if isinstance(target, str | os.PathLike):
        return os.fspath(target)
    return ",".join(f"{value:.17g}" for value in ([target] if isinstance(target, int | float) else target))
