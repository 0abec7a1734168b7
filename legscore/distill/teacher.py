"""What a student is taught by: an ensemble, or a table of scores beside the models that it starts from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from legscore.distill.kept_labels import KeptLabels
from legscore.distill.labels import Labels, teacher_plan
from legscore.distill.material import Material
from legscore.distill.options import WINDOWS_A_GROUP, DistillOptions, Follower
from legscore.distill.pruning import cost_of, parse_shape, strands_of, student_shape
from legscore.distill.student_figures import Standing
from legscore.distill.teacher_table import TableTeacher
from legscore.dna.contract import Contract
from legscore.engine.base import Engine, ThreadedEngine
from legscore.engine.choose import Request
from legscore.engine.open_engine import open_engine
from legscore.errors import EngineError, ModelError
from legscore.model.architecture import Architecture
from legscore.model.checkpoint import Checkpoint
from legscore.model.ensemble import open_members
from legscore.model.student import student_record
from legscore.system.log import Say

FLANK = 8
"""Bases of the construct that a student reads on either side of the insert."""
INSERT = 80
"""Bases of an insert where the models take several lengths and none is asked for."""
CHOICE_GROUPS = 500
"""Groups that choose the member to start from, where the teacher is a table."""


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

    def shape(self, member: Checkpoint, options: DistillOptions) -> Architecture:
        """What is left of a member. LegscoreError where it cannot be had."""
        if options.architecture is not None:
            return parse_shape(member.architecture, self.student_contract, options.architecture)
        return student_shape(member.architecture, self.student_contract, self.cost / options.cost_ratio)


@dataclass(frozen=True)
class LabelledMaterial:
    """Windows with the teacher's labels and the models' scores.

    Attributes:
        described: the teacher's members for the record. plan: what the labels depend on.
        train_MGK, own_MGK: labels of groups to train on. checks_MN: of checked windows.
        choice_MGK: the models' scores of the groups that choose one of them, by choice_mean_GK.
        both_MN, forward_MN: the models' scores of checked windows, on all strands and forward alone.
        has_effects: whether rows are changes of a reference.
    """

    material: Material
    described: list[dict[str, Any]]
    plan: dict[str, Any]
    train_MGK: np.ndarray
    own_MGK: np.ndarray
    checks_MN: np.ndarray
    choice_MGK: np.ndarray
    choice_mean_GK: np.ndarray
    both_MN: np.ndarray
    forward_MN: np.ndarray
    has_effects: bool

    def standings(self, teacher: Teacher) -> list[Standing]:
        """Every member as it is, on all strands and on the forward strand alone."""
        found, by_check = [], self.material.by_check
        for member, both_N, forward_N in zip(teacher.members, self.both_MN, self.forward_MN, strict=True):
            own = cost_of(member.architecture, teacher.contract)
            if teacher.strands == 2:
                found.append(Standing("one member", member.name, teacher.cost / own, by_check(both_N)))
            own //= teacher.strands
            what = "one member, forward strand"
            found.append(Standing(what, member.name, teacher.cost / own, by_check(forward_N)))
        return found


def open_teacher(models: Sequence[str], options: DistillOptions, say: Say) -> Teacher:
    """The ensemble with its student's contract. LegscoreError where there can be no such student."""
    members = open_members(models, False, say)
    for member in members:
        if student_record(member):
            raise ModelError(f"{member.path} is a student itself; distill the ensemble that it stands for")
    contract = members[0].contract
    insert = options.insert or min(max(INSERT, contract.insert_min), contract.insert_max)
    teacher = Teacher(members, contract, contract.cropped(insert, FLANK))
    for member in members:
        teacher.shape(member, options)
    return teacher


def label(
    teacher: Teacher,
    material: Material,
    table: TableTeacher | None,
    labels: Labels,
    options: DistillOptions,
    follower: Follower,
) -> LabelledMaterial:
    """Score everything that has to be scored, and keep it.

    Args:
        table: where labels come from, instead of the ensemble.
    """
    members = teacher.members
    request = Request(
        options.engine, options.precision, both_strands=teacher.strands == 2, device=options.device
    )
    engine = open_engine(members, request, follower.say)
    try:
        threaded = _threaded(engine)
        plan = teacher_plan(members, engine, material, options.seed)
        if table is not None:
            plan["table"] = table.described
        kept = KeptLabels(options.labels_from, plan, labels.folder)
        labels.begin(plan, restart=options.restart)
        follower.begin()
        contract = teacher.contract
        checked_NL = material.checked
        if table is None:
            labels_MN = labels.compute("labels", material.windows, contract, threaded, follower, kept)
            train_MGK, own_MGK, both_MN = material.parted(labels_MN)
            checks_MN, choice_MGK = both_MN, train_MGK
            described = plan["models"]
        else:
            train_MGK, own_MGK, checks_MN = material.parted(table.labels_MN)
            some_GKL = material.train_GKL[:CHOICE_GROUPS]
            wanted_NL = np.concatenate([some_GKL.reshape(-1, some_GKL.shape[-1]), checked_NL])
            scores_MN = labels.compute("members", wanted_NL, contract, threaded, follower, kept)
            n_choice = WINDOWS_A_GROUP * len(some_GKL)
            choice_MGK = scores_MN[:, :n_choice].reshape(len(members), -1, WINDOWS_A_GROUP)
            both_MN, described = scores_MN[:, n_choice:], table.described
        forward_MN = labels.compute("forward", checked_NL, contract, threaded, follower, kept)
    finally:
        engine.close()
    return LabelledMaterial(
        material=material,
        described=described,
        plan=plan,
        train_MGK=train_MGK,
        own_MGK=own_MGK,
        checks_MN=checks_MN,
        choice_MGK=choice_MGK,
        choice_mean_GK=train_MGK[:, : choice_MGK.shape[1]].mean(axis=0),
        both_MN=both_MN,
        forward_MN=forward_MN,
        has_effects=table is None or table.has_effects,
    )


def _threaded(engine: Engine) -> ThreadedEngine:
    """An engine that also scores forward strands alone, which baselines need."""
    if not isinstance(engine, ThreadedEngine):
        raise EngineError(f"engine {engine.name} does not score forward strands alone")
    return engine
