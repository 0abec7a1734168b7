"""The ensemble of a run: loaded, fitted to what the input holds, its training told."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from legscore.model.checkpoint import Checkpoint, load_members
from legscore.model.model_names import are_bundled
from legscore.model.student import describe_student, student_record
from legscore.system.log import Detail, Say
from legscore.system.resources import folder


def open_members(models: Sequence[str | Path], allow_duplicates: bool, say: Say) -> list[Checkpoint]:
    """Load the ensemble, or the bundled model when none is named."""
    bundled = are_bundled(models)
    members = load_members(models or [folder("bundled")], allow_duplicates=allow_duplicates, say=say)
    what = f"{len(members)} bundled for demonstration" if bundled else str(len(members))
    contract = members[0].contract
    say(f"models: {what} ({contract.describe_origin()})")
    if note := members[0].training.get("note"):
        say(f"        {note}")
    for member in members:
        if student := student_record(member):
            say(f"student: {member.name}, {describe_student(student)}")
    say(Detail(f"contract: {contract.describe()}"))
    return members


def training_summary(member: Checkpoint) -> dict[str, Any] | None:
    """What a member's record says of its training, in short; None for imported ones."""
    record = member.training
    if "recipe" not in record:
        return None
    picked = {
        name: record.get(name)
        for name in ("seed", "folds", "folds_held_out", "data_sha256", "steps", "metrics")
    }
    return {"preset": record["recipe"].get("preset"), **picked}


def training_records(members: Sequence[Checkpoint]) -> list[str]:
    """One line for each training that the members came from: preset, data, folds kept out, seeds, validation
    Pearson."""
    lines: dict[tuple[str, str, str], list[tuple[str, float | None]]] = {}
    for member in members:
        if record := training_summary(member):
            folds = record["folds_held_out"]
            kept = f"fold held out: {', '.join(map(str, folds))}" if folds else "on all folds"
            kept = "each without other folds" if _folds_differ(members) else kept
            key = (str(record["preset"]), str(record["data_sha256"])[:12], kept)
            lines.setdefault(key, []).append((str(record["seed"]), (record["metrics"] or {}).get("pearson")))
    said = []
    for (preset, data, kept), trained in lines.items():
        seeds = ", ".join(dict.fromkeys(seed for seed, _ in trained))
        known = [pearson for _, pearson in trained if pearson is not None]
        quality = f"; validation Pearson {min(known):.3f}-{max(known):.3f}" if known else ""
        said.append(f"trained: {preset}, data {data}, {kept}, seeds {seeds}{quality}")
    return said


def _folds_differ(members: Sequence[Checkpoint]) -> bool:
    return len({str(member.training.get("folds_held_out")) for member in members}) > 1
