"""What defines the scores, for the metadata of the output."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from legscore.engine.base import Engine
from legscore.model.checkpoint import Checkpoint
from legscore.model.ensemble import training_summary
from legscore.model.student import student_record
from legscore.run.input_and_models import PreparedInput, PreparedModels
from legscore.run.options import Options
from legscore.version import __version__


def prepare_metadata(
    options: Options,
    source: PreparedInput,
    models: PreparedModels,
    engine: Engine,
    part_rows: int,
    parts_a_file: int,
) -> dict[str, Any]:
    """What defines the scores, for the output's metadata: no paths, times, hosts or rates."""
    settings = {
        "kind": source.roles.kind.name,
        "sequence_is": models.sequence_is,
        "rc": models.rc,
        "singleton": options.singleton,
        "max_n": options.max_n,
        "columns": dict(source.roles.column_of),
        "out_of_fold": options.out_of_fold,
        "until_se": options.until_se,
    }
    if models.shifts is not None:
        settings["shifts"] = list(models.shifts.places)
    if parts_a_file:
        settings["parts_a_file"] = parts_a_file
    metadata: dict[str, Any] = {
        "legscore": __version__,
        "models": [_described(member) for member in models.members],
        "contract": models.contract.to_json(),
        "engine": engine.describe(),
        "fidelity": asdict(engine.fidelity) if engine.fidelity else None,
        "options": {**settings, "part_rows": part_rows},
    }
    if models.ensembles:
        metadata["ensembles"] = {
            one.name: {
                "models": [member.sha256 for member in models.members[one.start : one.stop]],
                "contract": models.members[one.start].contract.to_json(),
            }
            for one in models.ensembles
        }
    if models.calibrated_by:
        metadata["calibration"] = models.calibrated_by
    if models.ranked_by:
        metadata["background"] = models.ranked_by
    if made_by := [one.made_by for one in source.opened.sources if one.made_by]:
        lengths = [one.made_by.get("tile_lengths") for one in source.opened.sources]
        differ = any(length != lengths[0] for length in lengths)
        left_out = ("tile_lengths",) if differ else ()
        metadata["variants"] = {name: said for name, said in made_by[0].items() if name not in left_out}
    return metadata


def _described(member: Checkpoint) -> dict[str, Any]:
    """What the output says of a model; of a student also which ensemble it stands for, and how well."""
    described = {"name": member.name, "sha256": member.sha256, "training": training_summary(member)}
    student = student_record(member)
    return described if student is None else {**described, "student": student}
