"""What `legscore design` checks before the first design is made: models, targets, starting sequences,
constraints, outputs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from legscore.design import outputs
from legscore.design.constraints import Constraints
from legscore.design.judge import load_predictors
from legscore.design.keep import kept_bases
from legscore.design.options import PUBLISHED_EMPHASIS, DesignOptions
from legscore.design.starts import Starts, read_starts
from legscore.design.targets import read_targets, target_range
from legscore.dna.contract import Contract
from legscore.errors import InputError, ModelError
from legscore.generate.pairing import unfit
from legscore.generate.sample import Schedule
from legscore.input.files import find_files
from legscore.model.checkpoint import Checkpoint, load_generator
from legscore.system.log import Say
from legscore.system.overwrite import check_outputs
from legscore.system.publish import written_by

DEFAULT_LENGTH = 80


@dataclass(frozen=True)
class Plan:
    """What was checked: models, targets, starts (by design), constraints."""

    generator: Checkpoint | None
    members: list[Checkpoint]
    checkers: list[Checkpoint]
    length: int
    target_N: np.ndarray
    told_N: np.ndarray
    schedule: Schedule
    emphasis: float
    starts: Starts | None
    start_NL: np.ndarray | None
    constraints: Constraints


def prepare(options: DesignOptions, say: Say) -> Plan:
    """Read and check everything. LegscoreError says what does not go together."""
    check_outputs(
        {
            "-o": written_by(options.output),
            "--fasta-out": options.fasta,
            "--report": None if options.report is None else f"{options.report.rstrip('/')}/",
        },
        [options.start, options.training, options.target.rpartition(":")[0]],
        [options.generator, *options.models, *options.check],
        force=options.force,
    )
    outputs.check(options.output, options.fasta, options.report)
    _tell_left_out([path for path in (options.start, options.training) if path is not None], say)
    generator = load_generator(options.generator) if options.generator else None
    members = load_predictors(options.models, say)
    checkers = load_predictors(options.check, lambda line: None, "--check") if options.check else []
    contract = members[0].contract
    length = options.length or (generator.contract.length if generator else None)
    if generator is not None:
        _check_pairing(options, generator, [members[0], *checkers[:1]], say)
    starts = None
    if options.start is not None:
        starts = read_starts(options.start, contract, length)
        length = starts.codes_SL.shape[1]
        say(f"from: {len(starts.names):,} sequences of {length} bases")
    if length is None:
        usual = contract.insert_min <= DEFAULT_LENGTH <= contract.insert_max
        length = DEFAULT_LENGTH if usual else contract.insert_max
    for checkpoint in (members[0], *checkers[:1]):
        if not checkpoint.contract.insert_min <= length <= checkpoint.contract.insert_max:
            takes = f"{checkpoint.contract.insert_min}-{checkpoint.contract.insert_max}"
            raise InputError(f"inserts of {length} bases: {checkpoint.path} takes {takes}")
    _check_judges(members, checkers, generator, say)
    low, high, whose = target_range(generator.contract.output if generator else None, contract.output)
    targets = read_targets(options.target, options.n, low, high, whose, len(starts.names) if starts else None)
    _warn_of_targets(targets, generator, contract, say)
    n = len(targets)
    which = np.arange(n) % (len(starts.names) if starts else 1)
    start_NL = None if starts is None else starts.codes_SL[which]
    names = None if starts is None else [starts.names[i] for i in which]
    seeds = options.seed + np.arange(n) * (options.budget if options.method == "generator" else 1)
    kept = kept_bases(options.rules, contract, length, seeds, start_NL, names)
    constraints = Constraints(options.rules, contract, length, kept)
    constraints.check_possible()
    own = generator.training.get("sampling", {}) if generator else {}
    schedule, emphasis = options.schedule(own), options.emphasis or own.get("emphasis") or PUBLISHED_EMPHASIS
    told = targets
    if generator is not None:
        told = told_targets(targets, generator, emphasis)
        asked = (
            "as asked"
            if options.feed and options.emphasis
            else "this generator's own"
            if own
            else "as published"
        )
        say(f"sampling: {schedule.steps} steps, feed {schedule.feed}, emphasis {emphasis:g} ({asked})")
    return Plan(
        generator, members, checkers, length, targets, told, schedule, emphasis, starts, start_NL, constraints
    )


def _tell_left_out(paths: list[str], say: Say) -> None:
    """What is not read of folders and patterns."""
    for path in paths:
        for line in find_files([path]).notes:
            say(line)


def _check_pairing(options: DesignOptions, generator: Checkpoint, judges: list[Checkpoint], say: Say) -> None:
    """LegscoreError unless the generator makes the length asked for and inserts that the judges read."""
    if options.length not in (None, generator.contract.length):
        raise InputError(f"--length {options.length}: the generator makes {generator.contract.length} bases")
    say(f"generator: {generator.name} ({generator.contract.describe()})")
    for checkpoint in judges:
        if reason := unfit(generator.contract, checkpoint.contract):
            raise ModelError(
                f"{checkpoint.path or checkpoint.name} and the generator {options.generator} do not "
                f"match: {reason}"
            )


def told_targets(target_N: np.ndarray, generator: Checkpoint, emphasis: float) -> np.ndarray:
    """What the generator is told: targets moved away from the middle of its training data by the factor
    `emphasis`, as far as its range goes. Designs of a briefly trained generator come out nearer to that
    middle than asked for."""
    output = generator.contract.output
    assert output.min is not None and output.max is not None  # noqa: PT018 (a generator's contract has both)
    middle = generator.training.get("expression_percentiles", {}).get("50%", (output.min + output.max) / 2)
    return np.clip(middle + emphasis * (target_N - middle), output.min, output.max).astype(np.float32)


def _check_judges(
    members: list[Checkpoint], checkers: list[Checkpoint], generator: Checkpoint | None, say: Say
) -> None:
    """Refuse models that both choose and check; note those that validated the generator's training."""
    judged = {m.sha256 for m in members}
    if shared := [m.name for m in checkers if m.sha256 in judged]:
        raise InputError(
            f"--check {shared[0]}: also among -m, which choose the designs; check with models that took "
            "no part"
        )
    trained = {v.get("sha256") for v in generator.training.get("validated_by", [])} if generator else set()
    for what, models in (("-m", members), ("--check", checkers)):
        if shared := [m.name for m in models if m.sha256 in trained]:
            say(
                f"note: {what} {', '.join(shared)} validated the generator's training; its scores are no "
                "independent check"
            )


def _warn_of_targets(targets: np.ndarray, generator: Checkpoint | None, contract: Contract, say: Say) -> None:
    seen = generator.training.get("expression_percentiles", {}) if generator else {}
    low, high = seen.get("1%"), seen.get("99%")
    if low is not None and high is not None:
        beyond = int(((targets < low) | (targets > high)).sum())
        if beyond:
            say(
                f"note: {beyond:,} of {len(targets):,} targets lie outside {low:.1f}-{high:.1f}, 98 % of "
                "what the generator saw"
            )
    floor = contract.output.floor
    if floor is not None and (targets < floor).any():
        say(f"note: predictions hardly go below {floor:g}; {int((targets < floor).sum()):,} targets do")
