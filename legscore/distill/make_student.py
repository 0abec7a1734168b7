"""Distil an ensemble: what `legscore distill` does, for Python callers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from legscore.distill.agreement import Standing, best_member, fidelity_of
from legscore.distill.cascade_recall import recall_curve
from legscore.distill.conformal import interval_table
from legscore.distill.drawn_groups import SINGLE_CHANGES, DrawnGroups, draw_groups
from legscore.distill.labels import Labels, forward_scores, teacher_plan, windows_of
from legscore.distill.options import WINDOWS_A_GROUP, DistillOptions, Follower
from legscore.distill.pruning import cost_of, pruned, strands_of, student_shape
from legscore.distill.sources import open_sources
from legscore.distill.student_trainer import StudentTrainer
from legscore.dna.batch import Batch
from legscore.dna.contract import Contract
from legscore.engine.choose import Request
from legscore.engine.open_engine import open_engine
from legscore.errors import LegscoreError, ModelError
from legscore.model.checkpoint import Checkpoint, load_checkpoint
from legscore.model.ensemble import open_members
from legscore.model.student import describe_student, figure, is_better, sealed_student, student_record
from legscore.system.lock import locked_folder
from legscore.system.overwrite import check_files
from legscore.version import __version__

FLANK = 8
"""Bases of the construct that a student reads on either side of the insert."""
INSERT = 80
"""Bases of an insert where the models take several lengths and none is asked for."""
MINUTES = 30.0
MEASURED_S, LEAST_MEASURED = 3.0, 3
"""Steps are measured for so many seconds, and so many steps at least, after one that warms up."""


@dataclass(frozen=True)
class Teacher:
    """The ensemble and what its student shall read."""

    members: list[Checkpoint]
    contract: Contract
    student_contract: Contract

    @property
    def cost(self) -> int:
        """Multiply-adds of all members for one window, on all strands."""
        return sum(cost_of(member.architecture, self.contract) for member in self.members)

    @property
    def strands(self) -> int:
        """Strands of a window that the ensemble reads."""
        return strands_of(self.contract)

    def baselines(self, held_MGK: np.ndarray, forward_MGK: np.ndarray) -> list[Standing]:
        """Every member as it is, on all strands and on the forward strand alone."""
        found = []
        for member, both_GK, forward_GK in zip(self.members, held_MGK, forward_MGK, strict=True):
            own = cost_of(member.architecture, self.contract)
            if self.strands == 2:
                found.append(Standing("one member", member.name, self.cost / own, both_GK))
            own //= self.strands
            found.append(Standing("one member, forward strand", member.name, self.cost / own, forward_GK))
        return found


def distill(
    models: Sequence[str],
    output: str | Path,
    options: DistillOptions | None = None,
    follower: Follower | None = None,
    *,
    force: bool = False,
) -> Path:
    """Make a student of an ensemble and write it, with how well it stands for it.

    Args:
        models: checkpoints, folders or names, as everywhere; none for the bundled ensemble.
        output: the student's file. Labels lie in `OUTPUT.distill` until it is written.
        force: replace a file that is there.

    Returns:
        The student's path.

    Raises:
        LegscoreError: models, sources or options do not go together; the follower asked to stop (the same
            command goes on); something that costs no more agrees better with the ensemble.
    """
    options, follower = options or DistillOptions(), follower or Follower()
    target = Path(output)
    if target.suffix != ".safetensors":
        raise LegscoreError(f"-o {target}: a student is a checkpoint; end its name in .safetensors")
    read = [*options.tiles, *options.fasta, *options.measured]
    check_files({"-o": target}, read, models, force=force)
    teacher = _teacher(open_members(models, False, follower.say), options)
    sources = open_sources(
        teacher.contract,
        teacher.student_contract.insert_min,
        options.tiles,
        options.fasta,
        options.measured,
        options.seed,
        follower.say,
    )
    drawn = draw_groups(sources, options.groups, options.held_out, options.seed)
    follower.say(
        f"windows: {len(drawn) * WINDOWS_A_GROUP:,} in {len(drawn):,} groups; {drawn.held_out:,} groups are "
        "held out"
    )
    with locked_folder(Path(f"{target}.distill"), str(target)) as folder:
        labels = Labels(folder, drawn, len(teacher.members))
        student = _distilled(teacher, labels, options, follower)
        student.save(target)
        (labels.clear_training if options.keep_labels else labels.clear)()
    record = student_record(student)
    assert record is not None
    follower.say(f"student: {describe_student(record)}")
    if options.keep_labels:
        follower.say(f"labels: kept in {folder}")
    return target


def _teacher(members: list[Checkpoint], options: DistillOptions) -> Teacher:
    """The ensemble with its student's contract. LegscoreError where there can be no such student."""
    for member in members:
        if student_record(member):
            raise ModelError(f"{member.path} is a student itself; distill the ensemble that it stands for")
    contract = members[0].contract
    insert = options.insert or min(max(INSERT, contract.insert_min), contract.insert_max)
    teacher = Teacher(members, contract, contract.cropped(insert, FLANK))
    for member in members:
        student_shape(member.architecture, teacher.student_contract, teacher.cost / options.cost)
    return teacher


def _distilled(teacher: Teacher, labels: Labels, options: DistillOptions, follower: Follower) -> Checkpoint:
    """Label, choose, prune, train, measure: the student with its record."""
    drawn, members = labels.drawn, teacher.members
    request = Request(
        options.engine, options.precision, both_strands=teacher.strands == 2, device=options.device
    )
    engine = open_engine(members, request, follower.say)
    try:
        plan = teacher_plan(members, engine, drawn, options.seed)
        labels.begin(plan, restart=options.restart)
        follower.begin()
        labels_MGK = labels.compute(engine, teacher.contract, follower)
        chosen = best_member(labels_MGK[:, drawn.held_out :])
        forward_MGK = forward_scores(engine, drawn, teacher.contract)
    finally:
        engine.close()
    shape = student_shape(members[chosen].architecture, teacher.student_contract, teacher.cost / options.cost)
    start = pruned(members[chosen], shape, teacher.student_contract)
    cost = teacher.cost / shape.multiply_adds(teacher.student_contract.length)
    follower.say(
        f"start: {members[chosen].name}, which agrees best with the others; widths "
        f"{' '.join(map(str, shape.widths))}, 1/{cost:.3g} of the ensemble's cost"
    )
    trainer = _trained(start, drawn, labels, labels_MGK, plan, options, follower)
    draft = trainer.student()
    draft.save(labels.draft)
    scores_GK, by = _scores(load_checkpoint(labels.draft), drawn, request, follower)
    held_MGK = labels_MGK[:, : drawn.held_out]
    others = teacher.baselines(held_MGK, forward_MGK)
    fidelity = fidelity_of(scores_GK, held_MGK.mean(axis=0), cost, others)
    better = _cheaper_and_better(fidelity, cost)
    if better and not options.force_student:
        raise LegscoreError(
            f"the student was not written: {better} agrees better with the ensemble and costs no more. Train "
            "longer (--minutes), label more (--labels, with --restart), or write it with --force-student; "
            f"labels are kept in {labels.folder}"
        )
    record = {
        "teacher": plan["models"],
        "from": {"name": members[chosen].name, "sha256": members[chosen].sha256},
        "cost": round(cost, 3),
        "multiply_adds": shape.multiply_adds(teacher.student_contract.length),
        "labels": len(drawn) * WINDOWS_A_GROUP,
        "windows_sha256": drawn.sha256,
        "outputs": ["mean"],
        "forced": bool(better),
        "fidelity": {"engine": by, **fidelity},
        **_promises(scores_GK, held_MGK.mean(axis=0)),
    }
    training = {
        "seed": options.seed,
        "steps": trainer.steps,
        "precision": trainer.identity()["precision"],
        "legscore": __version__,
        "torch": str(torch.__version__),
    }
    whole = Checkpoint("legscore", draft.architecture, draft.contract, draft.arrays, training)
    return sealed_student(whole, record)


def _promises(ours_GK: np.ndarray, theirs_GK: np.ndarray) -> dict[str, Any]:
    """What the student promises of single changes: how many of the largest it finds, and how near it is."""
    of_single = slice(1, 1 + SINGLE_CHANGES)
    ours, theirs = (
        (scores[:, of_single] - scores[:, :1]).astype(np.float64).ravel() for scores in (ours_GK, theirs_GK)
    )
    tile_N = np.repeat(np.arange(len(ours_GK)), SINGLE_CHANGES)
    return {
        "cascade": recall_curve(ours, theirs, tile_N),
        "intervals": interval_table(ours, theirs, tile_N),
    }


def _trained(
    start: Checkpoint,
    drawn: DrawnGroups,
    labels: Labels,
    labels_MGK: np.ndarray,
    plan: dict[str, Any],
    options: DistillOptions,
    follower: Follower,
) -> StudentTrainer:
    """The trainer at its last step, from a saved state where there is one."""

    def made(steps: int, state: Path) -> StudentTrainer:
        return StudentTrainer(start, drawn, labels_MGK, steps, options.seed, state, {"labels": plan})

    about = made(1, labels.draft).identity() | {"steps": None}
    steps = options.steps
    if steps is None:
        minutes = options.minutes or MINUTES
        steps = labels.steps_for(minutes, about, lambda: _seconds_a_step(made(10_000, labels.draft)))
        follower.say(f"training: {steps:,} steps for {minutes:g} minutes")
    trainer = made(steps, labels.state_path(about | {"steps": steps}))
    if trainer.resume():
        follower.say(f"training: going on from step {trainer.step:,} of {steps:,}")
    ended = trainer.run(
        options.save_every,
        options.log_every,
        lambda *told: follower.report(trainer.step, trainer.steps, *told),
        lambda: follower.trained(trainer.step, trainer.steps),
        follower.stopped,
    )
    if not ended:
        raise LegscoreError(f"stopped at step {trainer.step:,} of {steps:,}, saved; the same command goes on")
    return trainer


def _seconds_a_step(trainer: StudentTrainer) -> float:
    """Seconds that a step takes here, of a trainer that is then thrown away."""
    trainer.train_step()
    started, steps = time.perf_counter(), 0
    while steps < LEAST_MEASURED or time.perf_counter() - started < MEASURED_S:
        trainer.train_step()
        steps += 1
    return (time.perf_counter() - started) / steps


def _scores(
    student: Checkpoint, drawn: DrawnGroups, request: Request, follower: Follower
) -> tuple[np.ndarray, str]:
    """A student's scores of the held-out windows by the engine that users will score it with, and which that
    is."""
    held = drawn.inserts_GKL[: drawn.held_out]
    asked = Request(request.engine, request.precision, both_strands=False, device=request.device)
    engine = open_engine([student], asked, follower.say)
    try:
        codes = windows_of(held.reshape(-1, held.shape[-1]), student.contract)
        return engine.score(Batch(codes))[0].reshape(-1, WINDOWS_A_GROUP), f"{engine.name} {engine.precision}"
    finally:
        engine.close()


def _cheaper_and_better(fidelity: dict[str, Any], cost: float) -> str:
    """What agrees better with the ensemble at no higher cost, in words; empty where nothing does."""
    for other in fidelity["baselines"]:
        if other["cost"] >= cost and is_better(other, fidelity):
            theirs, ours = other["effects"]["pearson"], fidelity["effects"]["pearson"]
            return (
                f"{other['what']} ({other['member']}, 1/{other['cost']:.3g} of the cost, effects Pearson "
                f"{figure(theirs)} against {figure(ours)} of the student at 1/{cost:.3g})"
            )
    return ""
