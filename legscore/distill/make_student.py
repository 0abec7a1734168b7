"""Distil an ensemble: what `legscore distill` does, for Python callers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from legscore.distill.agreement import best_member
from legscore.distill.labels import Labels, windows_of
from legscore.distill.material import gather
from legscore.distill.options import DistillOptions, Follower
from legscore.distill.pruning import pruned
from legscore.distill.sd_head import with_sd_head
from legscore.distill.student_figures import cheaper_and_better, fidelity_of, promises, sd_figures
from legscore.distill.student_trainer import OWN_STEPS, StudentTrainer
from legscore.distill.teacher import LabelledMaterial, Teacher, label, open_teacher
from legscore.distill.teacher_table import read_teacher
from legscore.dna.batch import Batch
from legscore.engine.choose import Request
from legscore.engine.open_engine import open_engine
from legscore.errors import LegscoreError
from legscore.model.checkpoint import Checkpoint, load_checkpoint
from legscore.model.student import describe_student, sealed_student, student_record
from legscore.system.lock import locked_folder
from legscore.system.overwrite import check_files
from legscore.version import __version__

MINUTES = 30.0
AT_ONCE = 8_192
"""Windows that the student scores at a time."""
MEASURED_S, LEAST_MEASURED = 3.0, 3
"""Steps are measured for so many seconds, and so many steps at least, after one that warms up."""


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
    tables = [path for path in (options.own, options.teacher_table) if path is not None]
    read = [*options.tiles, *options.fasta, *options.measured, *options.check, *options.apart, *tables]
    check_files({"-o": target}, read, models, force=force)
    teacher = open_teacher(models, options, follower.say)
    insert = teacher.student_contract.insert_min
    table = None
    if options.teacher_table is not None:
        table = read_teacher(options.teacher_table, teacher.contract, insert, options, follower.say)
        material = table.material
    else:
        material = gather(teacher.contract, insert, options, follower.say)
    with locked_folder(Path(f"{target}.distill"), str(target)) as folder:
        labels = Labels(folder)
        labelled = label(teacher, material, table, labels, options, follower)
        student = _distilled(teacher, labelled, labels, options, follower)
        student.save(target, half=options.half)
        (labels.clear_training if options.keep_labels else labels.clear)()
    record = student_record(load_checkpoint(target))
    assert record is not None
    follower.say(f"student: {describe_student(record)}")
    if options.keep_labels:
        follower.say(f"labels: kept in {folder}")
    return target


def _distilled(
    teacher: Teacher, labelled: LabelledMaterial, labels: Labels, options: DistillOptions, follower: Follower
) -> Checkpoint:
    """Choose, prune, train, measure: the student with its record."""
    material = labelled.material
    chosen = best_member(labelled.choice_MGK, labelled.choice_mean_GK)
    member = teacher.members[chosen]
    shape = teacher.shape(member, options)
    start = pruned(member, shape, teacher.student_contract)
    multiply_adds = shape.multiply_adds(teacher.student_contract.length)
    cost = teacher.cost / multiply_adds
    why = ", which agrees best with the teacher" if len(teacher.members) > 1 else ""
    follower.say(
        f"start: {member.name}{why}; widths {' '.join(map(str, shape.widths))}, 1/{cost:.3g} of the "
        "ensemble's cost"
    )
    trainer = _trained(start, labelled, labels, options, follower)
    draft = _rounded(trainer.student(), options, labels)
    if len(labelled.train_MGK) > 1:
        of = _to_train_on(labelled)
        told = with_sd_head(draft, *of, trainer.steps, options.seed, follower.stopped)
        draft = _rounded(told, options, labels)
    scores_KN, by = _scores(draft, labelled, options, follower)
    ours, theirs = material.by_check(scores_KN[0]), material.by_check(labelled.checks_MN.mean(axis=0))
    fidelity = fidelity_of(material.checks, ours, theirs, cost, labelled.standings(teacher))
    better = cheaper_and_better(fidelity, cost)
    if better and not options.force_student:
        raise LegscoreError(
            f"the student was not written: {better} agrees better with the ensemble and costs no more. Train "
            "longer (--minutes), label more (--labels, with --restart), or write it with --force-student; "
            f"labels are kept in {labels.folder}"
        )
    sd = _sd_figures(scores_KN, labelled)
    record = {
        "teacher": labelled.described,
        "labels_from": "models" if options.teacher_table is None else "table",
        "from": {"name": member.name, "sha256": member.sha256},
        "cost": round(cost, 3),
        "multiply_adds": multiply_adds,
        "labels": len(material.windows),
        "own_groups": len(material.own_GKL),
        "windows_sha256": material.sha256,
        "outputs": ["mean", "sd"] if sd and sd["informative"] else ["mean"],
        "forced": bool(better),
        "fidelity": {"engine": by, **fidelity, "sd": sd},
        **(promises(material.checks, ours, theirs) if labelled.has_effects else {}),
    }
    training = {
        "seed": options.seed,
        "steps": trainer.steps,
        "precision": trainer.identity()["precision"],
        "legscore": __version__,
        "torch": str(torch.__version__),
    }
    names = list(draft.architecture.shapes()) if len(record["outputs"]) == 1 else list(draft.arrays)
    arrays = {name: draft.arrays[name] for name in names}  # a head that tells no SD is not kept
    whole = Checkpoint("legscore", draft.architecture, draft.contract, arrays, training)
    return sealed_student(whole, record)


def _rounded(student: Checkpoint, options: DistillOptions, labels: Labels) -> Checkpoint:
    """The student as it is read back from its file: figures and checksum are of these weights."""
    student.save(labels.draft, half=options.half)
    return load_checkpoint(labels.draft)


def _trained(
    start: Checkpoint,
    labelled: LabelledMaterial,
    labels: Labels,
    options: DistillOptions,
    follower: Follower,
) -> StudentTrainer:
    """The trainer at its last step, from a saved state where there is one."""
    material = labelled.material
    inserts_GKL, labels_MGK = _to_train_on(labelled)

    def made(steps: int, state: Path) -> StudentTrainer:
        own = len(material.own_GKL)
        about = {"labels": labelled.plan}
        return StudentTrainer(start, inserts_GKL, labels_MGK, own, steps, options.seed, state, about)

    about = made(1, labels.draft).identity() | {"steps": None}
    steps = options.steps
    if steps is None:
        minutes = options.minutes or MINUTES
        drawn = minutes / (1 + OWN_STEPS) if len(material.own_GKL) else minutes
        steps = labels.steps_for(drawn, about, lambda: _seconds_a_step(made(10_000, labels.draft)))
        follower.say(f"training: {made(steps, labels.draft).steps:,} steps for {minutes:g} minutes")
    trainer = made(steps, labels.state_path(about | {"steps": steps}))
    if trainer.resume():
        follower.say(f"training: going on from step {trainer.step:,} of {trainer.steps:,}")
    ended = trainer.run(
        options.save_every,
        options.log_every,
        lambda *told: follower.report(trainer.step, trainer.steps, *told),
        lambda: follower.trained(trainer.step, trainer.steps),
        follower.stopped,
    )
    if not ended:
        at = f"{trainer.step:,} of {trainer.steps:,}"
        raise LegscoreError(f"stopped at step {at}, saved; the same command goes on")
    return trainer


def _sd_figures(scores_KN: np.ndarray, labelled: LabelledMaterial) -> dict[str, Any] | None:
    """How well the SD that a student tells ranks the windows of held-out groups; None where it tells none."""
    if len(scores_KN) < 2:
        return None
    told_N, held_MN = (labelled.material.by_check(of)[0] for of in (scores_KN[1], labelled.checks_MN))
    return sd_figures(told_N, held_MN, labelled.material.checks[0].window_tiles)


def _to_train_on(labelled: LabelledMaterial) -> tuple[np.ndarray, np.ndarray]:
    """All groups that the student learns from, the user's own last, and their labels."""
    material = labelled.material
    inserts_GKL = np.concatenate([material.train_GKL, material.own_GKL])
    return inserts_GKL, np.concatenate([labelled.train_MGK, labelled.own_MGK], axis=1)


def _seconds_a_step(trainer: StudentTrainer) -> float:
    """Seconds that a step takes here, of a trainer that is then thrown away."""
    trainer.train_step()
    started, steps = time.perf_counter(), 0
    while steps < LEAST_MEASURED or time.perf_counter() - started < MEASURED_S:
        trainer.train_step()
        steps += 1
    return (time.perf_counter() - started) / steps


def _scores(
    student: Checkpoint, labelled: LabelledMaterial, options: DistillOptions, follower: Follower
) -> tuple[np.ndarray, str]:
    """What a student says of all checked windows by the engine that users will score it with, float32
    [1, windows], or [2, windows] with the SD that it tells; and which engine that is."""
    request = Request(options.engine, options.precision, both_strands=False, device=options.device)
    engine = open_engine([student], request, follower.say)
    inserts_NL = labelled.material.checked
    networks = range(1 + engine.n_beside)
    try:
        pieces = [
            engine.score(Batch(windows_of(inserts_NL[start : start + AT_ONCE], student.contract)), networks)
            for start in range(0, len(inserts_NL), AT_ONCE)
        ]
        return np.concatenate(pieces, axis=1), f"{engine.name} {engine.precision}"
    finally:
        engine.close()
