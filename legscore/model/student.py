"""What a distilled checkpoint says of itself: which ensemble it stands for, and how well.

The record lies in the training record under `student`, with a checksum over it and everything it speaks of:
architecture, contract, weights. A record that was edited, or carried over to other weights, is refused when
the model is loaded for scoring.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from legscore.errors import ModelError
from legscore.model.checkpoint import BESIDE, HEAD, Checkpoint, sd_shapes

KEY = "student"
FIGURES = ("pearson", "spearman", "rmse", "slope", "worst_decile_rmse")
"""Of agreement with the ensemble, of levels and of effects."""


def sealed_student(checkpoint: Checkpoint, record: Mapping[str, Any]) -> Checkpoint:
    """The checkpoint with the record of a distillation and its checksum."""
    plain = json.loads(json.dumps(record))
    plain["sha256"] = _checksum(checkpoint, plain)
    return replace(checkpoint, training={**checkpoint.training, KEY: plain})


def student_record(checkpoint: Checkpoint) -> dict[str, Any] | None:
    """The record of a distillation; None for a model that was not distilled.

    Raises:
        ModelError: the record is none, or does not belong to these weights.
    """
    record = checkpoint.training.get(KEY)
    if record is None:
        return None
    where = checkpoint.path or "model"
    if not _is_record(record):
        raise ModelError(f"{where}: its record of a distillation is not one; distill it again")
    if record["sha256"] != _checksum(checkpoint, record):
        raise ModelError(
            f"{where}: its record of a distillation was changed or belongs to other weights; distill it again"
        )
    return record


def _checksum(checkpoint: Checkpoint, record: Mapping[str, Any]) -> str:
    said = {name: value for name, value in record.items() if name != "sha256"}
    about = [said, checkpoint.architecture.to_json(), checkpoint.contract.to_json()]
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    beside = sd_shapes(checkpoint.architecture)
    for name in sorted([*checkpoint.architecture.shapes(), *(n for n in beside if n in checkpoint.arrays)]):
        digest.update(np.ascontiguousarray(checkpoint.arrays[name], dtype="<f4").tobytes())
    return digest.hexdigest()


class _OtherHead(Mapping[str, np.ndarray]):
    """Arrays of a student with its second head in place of the first; they are read where the student's
    are."""

    def __init__(self, student: Checkpoint) -> None:
        self._student, self._names = student, student.architecture.shapes()

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        return self._student.arrays[f"{BESIDE}{name}" if name.startswith(HEAD) else name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def sd_networks(members: Sequence[Checkpoint]) -> list[Checkpoint]:
    """The network that tells a student's `score_sd`: the student with its second head, which says in score
    units how much the ensemble's members differ. One; none for several models or where there is no such head.

    Engines that compile networks together compute what both share once.
    """
    if len(members) != 1 or not all(name in members[0].arrays for name in sd_shapes(members[0].architecture)):
        return []
    student = members[0]
    sha256 = student.sha256 and hashlib.sha256(f"{student.sha256} {BESIDE}{HEAD}".encode()).hexdigest()
    return [replace(student, arrays=_OtherHead(student), training={}, sha256=sha256)]


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_agreement(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(value.get(of), dict)
        and all(value[of].get(name, 0) is None or _number(value[of].get(name)) for name in FIGURES)
        for of in ("levels", "effects")
    )


def _is_record(record: Any) -> bool:
    """Whether everything that is read of it later has its type."""
    if not isinstance(record, dict) or not isinstance(record.get("sha256"), str):
        return False
    teacher, fidelity = record.get("teacher"), record.get("fidelity")
    return (
        isinstance(teacher, list)
        and len(teacher) > 0
        and all(isinstance(model, dict) and isinstance(model.get("name"), str) for model in teacher)
        and _number(record.get("cost"))
        and record["cost"] > 0
        and isinstance(fidelity, dict)
        and type(fidelity.get("groups")) is int
        and _is_agreement(fidelity)
        and isinstance(fidelity.get("baselines"), list)
        and all(
            _is_agreement(line) and isinstance(line.get("what"), str) and _number(line.get("cost"))
            for line in fidelity["baselines"]
        )
        and _tells(record.get("outputs", ["mean"]), fidelity.get("sd"))
        and isinstance(fidelity.get("checks", []), list)
        and all(map(_is_check, fidelity.get("checks", [])))
        and ("cascade" not in record or _is_curve(record["cascade"], "recall", 4))
        and ("intervals" not in record or _are_intervals(record["intervals"]))
    )


def _tells(outputs: Any, sd: Any) -> bool:
    """Whether outputs are those that there are, and an SD among them has its figure."""
    if outputs == ["mean"]:
        return sd is None or isinstance(sd, dict)
    return outputs == ["mean", "sd"] and isinstance(sd, dict) and _number(sd.get("spearman"))


def _is_check(value: Any) -> bool:
    return (
        _is_agreement(value)
        and isinstance(value.get("name"), str)
        and type(value.get("tiles")) is int
        and type(value.get("rows")) is int
    )


def _is_curve(value: Any, name: str, width: int) -> bool:
    """Whether a list of lines is there whose first numbers rise; other numbers may be undefined."""
    return (
        isinstance(value, dict)
        and type(value.get("tiles")) is int
        and isinstance(value.get(name), list)
        and len(value[name]) > 0
        and all(isinstance(line, list) and len(line) == width and _number(line[0]) for line in value[name])
        and all(one is None or _number(one) for line in value[name] for one in line)
        and all(a[0] < b[0] for a, b in itertools.pairwise(value[name]))
    )


def _are_intervals(value: Any) -> bool:
    return _is_curve(value, "bins", 2) and _number(value.get("coverage")) and value["bins"][0][0] == 0


def expected_recall(record: Mapping[str, Any], share: float) -> tuple[float, float, float] | None:
    """How much of the ensemble's largest 1 % of effects a share of the student's ranking should find.

    Args:
        record: of a student. share: of all rows, those with the largest |effect| by the student.

    Returns:
        Expectation, and the ends of its 95 % interval; None where the record holds no such curve.
    """
    if "cascade" not in record:
        return None
    curve = np.array([[0, 0, 0, 0], *record["cascade"]["recall"], [1, 1, 1, 1]], dtype=np.float64)
    recall, low, high = (float(np.interp(share, curve[:, 0], curve[:, k])) for k in (1, 2, 3))
    return recall, low, high


def half_widths(record: Mapping[str, Any], effects_N: np.ndarray) -> np.ndarray | None:
    """Half-widths of the intervals around a student's effects, float64 [N]; NaN where none is known. None
    where the record holds no intervals."""
    if "intervals" not in record:
        return None
    lows = np.array([line[0] for line in record["intervals"]["bins"]])
    widths = np.array([np.nan if line[1] is None else line[1] for line in record["intervals"]["bins"]])
    size_N = np.abs(effects_N)
    known = np.isfinite(size_N)
    bin_N = np.searchsorted(lows, np.where(known, size_N, 0.0), side="right") - 1
    return np.where(known, widths[bin_N], np.nan)


def figure(value: float | None, digits: int = 3) -> str:
    """A figure of a record for people; an undefined one is said to be so."""
    return "undefined" if value is None else f"{value:.{digits}f}"


def describe_student(record: Mapping[str, Any]) -> str:
    """One line for people: of which ensemble, at which cost, how well they agree, and what agrees better."""
    fidelity, n = record["fidelity"], len(record["teacher"])
    effects, levels = fidelity["effects"], fidelity["levels"]
    what = "column" if record.get("labels_from") == "table" else "model"
    line = (
        f"of {n} {what}{'s' if n > 1 else ''} at 1/{record['cost']:.3g} of the cost; on "
        f"{fidelity['groups']:,} held-out groups effects Pearson {figure(effects['pearson'])}, Spearman "
        f"{figure(effects['spearman'])}, slope {figure(effects['slope'], 2)}, levels Pearson "
        f"{figure(levels['pearson'])}"
    )
    for check in fidelity.get("checks", ()):
        told = check["effects"] if check["effects"]["pearson"] is not None else check["levels"]
        line += f"; {_of_check(check)} Pearson {figure(told['pearson'])}"
    if "sd" in record.get("outputs", ()):
        line += f"; score_sd Spearman {figure(fidelity['sd']['spearman'])}"
    for other in fidelity["baselines"]:
        if is_better(other, fidelity):
            share = f"1/{other['cost']:.3g}"
            line += f"; {other['what']} agrees better ({figure(other['effects']['pearson'])} at {share})"
    return line


def _of_check(check: Mapping[str, Any]) -> str:
    """What a further check's figure is of."""
    if check["name"] == "tiles":
        return f"single changes of {check['tiles']:,} tiles"
    return f"your own rows ({check['rows']:,})" if check["name"] == "own" else f"{check['name']}"


def is_better(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether one's effects agree better with the ensemble than another's; what is undefined agrees with
    nothing."""
    mine, theirs = one["effects"]["pearson"], other["effects"]["pearson"]
    return mine is not None and (theirs is None or mine > theirs)


def check_students(members: Sequence[Checkpoint], rc: str) -> None:
    """ModelError where a student is asked to read a window turned around, as it never saw one."""
    for member in members:
        if rc != "none" and student_record(member):
            raise ModelError(
                f"{member.path or 'model'} is a student: it reads the forward strand and gives the mean of "
                f"both; leave --rc {rc} out"
            )
