"""Labels from a table instead of an ensemble: scores of any model, a column (or two of them) a member."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from legscore.distill.check_rows import of_changes, of_groups
from legscore.distill.drawn_groups import kmers_apart, share_nothing
from legscore.distill.input_rows import InputRows, read_rows, roles_of
from legscore.distill.material import Material
from legscore.distill.options import LEAST_LABELS, WINDOWS_A_GROUP, DistillOptions
from legscore.dna.codes import unique_rows
from legscore.dna.contract import Contract
from legscore.errors import InputError
from legscore.input.read import open_input
from legscore.system.log import Say

CHANGES = WINDOWS_A_GROUP - 1
BEYOND = 0.01
"""How far scores may lie beyond what a head of bins tells, of its range."""
ALIKE = 1e-5
"""Share of a score by which rows of one reference may differ: what float32 and printing leave."""
LEAST_STEPS = 4
"""Steps of float32 numbers that scores and effects spread over (SD) at least."""


@dataclass(frozen=True)
class TableTeacher:
    """What a table gives.

    Attributes:
        material: windows; the only check is that of held-out groups.
        labels_MN: float32 [members, windows] of `material.windows`.
        described: the teacher's members for the student's record.
        has_effects: whether rows are changes; else effects are differences between sequences.
    """

    material: Material
    labels_MN: np.ndarray
    described: list[dict[str, Any]]
    has_effects: bool


def read_teacher(
    path: str, contract: Contract, insert: int, options: DistillOptions, say: Say
) -> TableTeacher:
    """Read windows and labels; a tenth of the groups is held out, with all that shares 20 bases with it.

    Raises:
        InputError: a table that cannot be read, lacks a column or holds too little, or scores that the
            models' head cannot tell or that float32 does not tell apart.
    """
    rng = np.random.default_rng([options.seed, 71])
    names, rows, pairs = _read(path, contract, insert, options, rng, say)
    _check_range(path, rows, pairs, contract)
    groups_GKL, labels_MGK, anchor_G = _grouped(path, rows, pairs, rng, say)
    held_G = _chosen(anchor_G, rng)
    free_G = ~held_G
    free_G[free_G] = share_nothing(groups_GKL[free_G], kmers_apart([groups_GKL[held_G]]))
    if WINDOWS_A_GROUP * np.count_nonzero(free_G) < LEAST_LABELS or not held_G.any():
        raise InputError(
            f"{path}: {np.count_nonzero(free_G):,} groups of {WINDOWS_A_GROUP} windows share no 20 bases "
            f"with those held out; a student needs {LEAST_LABELS // WINDOWS_A_GROUP}"
        )
    _check_spread(path, labels_MGK[:, free_G], pairs)
    order = np.concatenate([np.flatnonzero(free_G), np.flatnonzero(held_G)])
    n_free, length = int(np.count_nonzero(free_G)), groups_GKL.shape[-1]
    held_GKL, held_MN = groups_GKL[order[n_free:]], labels_MGK[:, order[n_free:]].reshape(len(names), -1)
    check = of_groups("groups", held_GKL)
    if pairs:
        check, taken_N = of_changes("groups", held_GKL, anchor_G[order[n_free:]])
        held_MN = held_MN[:, taken_N]
    nothing = np.empty((0, WINDOWS_A_GROUP, length), np.uint8)
    material = Material(groups_GKL[order[:n_free]], nothing, (check,))
    left_out = len(groups_GKL) - len(order)
    of = f" ({len(check.alt_E):,} changes of {len(np.unique(check.tile_E)):,} references)" if pairs else ""
    say(
        f"windows: {n_free:,} groups to train on, {len(order) - n_free:,} held out{of}, {left_out:,} left "
        "out that share 20 bases with these"
    )
    free_MN = labels_MGK[:, order[:n_free]].reshape(len(names), -1)
    labels_MN = np.concatenate([free_MN, held_MN], axis=1).astype(np.float32)
    sha256 = [hashlib.sha256(np.ascontiguousarray(label_N).tobytes()).hexdigest() for label_N in labels_MN]
    described = [
        {"name": f"{Path(path).name} {name}", "sha256": checksum}
        for name, checksum in zip(names, sha256, strict=True)
    ]
    return TableTeacher(material, labels_MN, described, pairs)


def _read(
    path: str, contract: Contract, insert: int, options: DistillOptions, rng: np.random.Generator, say: Say
) -> tuple[tuple[str, ...], InputRows, bool]:
    """Names of the teacher's members, the rows with all of their scores, and whether rows are changes."""
    pairs = roles_of(open_input([path])).kind.windows == 2
    names = options.teacher_columns or (("ref_score:alt_score",) if pairs else ("score",))
    columns = [name.split(":") for name in names]
    for name, parts in zip(names, columns, strict=True):
        if len(parts) != 1 + pairs:
            wanted = "of two columns, REF:ALT" if pairs else "the name of one column"
            raise InputError(f"--teacher-columns {name}: rows of {path} need {wanted}")
    values = [column for parts in columns for column in parts]
    rows = read_rows(path, contract, insert, 1.0, options.labels, rng, say, values)
    known = np.isfinite(rows.value_NV).all(axis=1)
    if not known.all():
        say(f"{path}: {np.count_nonzero(~known):,} rows without a score are left out")
    return names, rows.take(known), pairs


def _check_range(path: str, rows: InputRows, pairs: bool, contract: Contract) -> None:
    """InputError where the mean over members lies where a head of bins tells no score."""
    output = contract.output
    if output.kind != "bins" or output.min is None or output.max is None or not len(rows):
        return
    level = [rows.value_NV[:, k :: 1 + pairs].mean(axis=1) for k in range(1 + pairs)]
    low, high = float(np.min(level)), float(np.max(level))
    spare = BEYOND * (output.max - output.min)
    if low < output.min - spare or high > output.max + spare:
        raise InputError(
            f"{path}: its scores go from {low:.4g} to {high:.4g}, and these models (-m) tell scores from "
            f"{output.min:g} to {output.max:g} only, by bins; bring the scores into this range (add a "
            "number, multiply), or start from models with a scalar head"
        )


def _check_spread(path: str, labels_MGK: np.ndarray, pairs: bool) -> None:
    """InputError where scores or their differences are all the same, or nearly so for float32."""
    level_GK = labels_MGK.mean(axis=0)
    effect_GC = level_GK[:, 1:] - level_GK[:, :1]
    for what, some in (("score", level_GK), ("effect" if pairs else "score", effect_GC)):
        if np.ptp(some) == 0:
            raise InputError(
                f"{path}: the table gives all rows the same {what}; nothing can be learnt from it"
            )
        step = float(np.spacing(np.float32(np.abs(labels_MGK).max())))
        if (spread := float(some.std())) < LEAST_STEPS * step:
            raise InputError(
                f"{path}: {what}s of the table differ by {spread:.3g} (SD) only, and scores are float32 "
                f"numbers, which lie {step:.3g} apart around {level_GK.mean():.6g}; subtract a number from "
                "all scores"
            )


def _grouped(
    path: str, rows: InputRows, pairs: bool, rng: np.random.Generator, say: Say
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Groups uint8 [G, 4, insert], their labels [members, G, 4], and what each group changes, int64 [G].

    Of changes: a reference and three rows that change it, some twice where it has fewer. Of single sequences:
    four of them.
    """
    if not pairs:
        groups = len(rows) // WINDOWS_A_GROUP
        order = rng.permutation(len(rows))[: groups * WINDOWS_A_GROUP].reshape(groups, WINDOWS_A_GROUP)
        labels_MGK = np.moveaxis(rows.value_NV[order], -1, 0)
        return rows.alt_NL[order], labels_MGK, np.arange(groups)
    assert rows.ref_NL is not None
    anchor_N = unique_rows(rows.ref_NL)[1]
    by_anchor = np.argsort(anchor_N, kind="stable")
    counts = np.bincount(anchor_N)
    groups_A = -(-counts // CHANGES)
    anchor_G = np.repeat(np.arange(len(counts)), groups_A)
    nth_G = np.arange(len(anchor_G)) - np.repeat(np.cumsum(groups_A) - groups_A, groups_A)
    within_GC = (nth_G[:, None] * CHANGES + np.arange(CHANGES)) % counts[anchor_G][:, None]
    row_GC = by_anchor[(np.cumsum(counts) - counts)[anchor_G][:, None] + within_GC]
    groups_GKL = np.concatenate([rows.ref_NL[row_GC[:, :1]], rows.alt_NL[row_GC]], axis=1)
    ref_AM, alt_NM = _of_references(path, rows, anchor_N, counts, say), rows.value_NV[:, 1::2]
    labels_GKM = np.concatenate([ref_AM[anchor_G][:, None], alt_NM[row_GC]], axis=1)
    return groups_GKL, np.moveaxis(labels_GKM, -1, 0), anchor_G


def _of_references(
    path: str, rows: InputRows, anchor_N: np.ndarray, counts: np.ndarray, say: Say
) -> np.ndarray:
    """Scores of references [references, members]: the means over their rows, which should be alike."""
    ref_NM = rows.value_NV[:, 0::2]
    sum_AM, low_AM = np.zeros((len(counts), ref_NM.shape[1])), np.full((len(counts), ref_NM.shape[1]), np.inf)
    high_AM = -low_AM
    for joined, values in ((np.add, sum_AM), (np.minimum, low_AM), (np.maximum, high_AM)):
        joined.at(values, anchor_N, ref_NM)
    differ_AM = high_AM - low_AM > ALIKE * np.maximum(np.abs(low_AM), np.abs(high_AM))
    if differ_AM.any():
        say(
            f"{path}: {np.count_nonzero(differ_AM.any(axis=1)):,} references have scores that differ between "
            f"their rows, by up to {float((high_AM - low_AM).max()):.3g}; their means are taken"
        )
    return sum_AM / counts[:, None]


def _chosen(anchor_G: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """bool [groups]: about a tenth (2,000 at most), always all groups of an anchor."""
    anchors = rng.permutation(int(anchor_G.max(initial=-1)) + 1)
    ends = np.cumsum(np.bincount(anchor_G)[anchors])
    wanted = min(2_000, max(25, len(anchor_G) // 10))
    return np.isin(anchor_G, anchors[: int(np.searchsorted(ends, wanted)) + 1])
