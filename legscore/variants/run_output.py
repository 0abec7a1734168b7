"""Scores → a VCF, tracks, or a table with p and q: made aside, put in place with the record."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legscore.dna.contract import Contract
from legscore.errors import LegscoreError
from legscore.output.parts import NULL, PartFolder
from legscore.run.finished import checksums_of
from legscore.run.job import score
from legscore.run.options import Options, Staging
from legscore.system.checksum import Seen, checksum_of
from legscore.system.json_records import fingerprint_of, sealed
from legscore.system.log import RunLog, Say
from legscore.system.publish import is_stream, sync_folder, write_record, writing
from legscore.variants.run_request import RunRequest

if TYPE_CHECKING:
    from legscore.variants.make import Made


def publish_scores(
    request: RunRequest,
    asked: dict[str, Any],
    room: Path,
    job: Options,
    made: Made | None,
    read: Sequence[Seen],
    record: dict[str, Any],
    say: Say,
    log: RunLog,
) -> list[str]:
    """Turn the scores into the output that was asked for, and put it in place with its record.

    Args:
        request: what was asked for; `asked` says it for the record.
        room: the folder of this run beside the output, which this process holds.
        job: the options of the run, whose output holds the scores.
        made: the table that was scored, where it was made of a VCF or alleles.
        read: what the job's input was before it was scored, where it is read again.
        record: of the run; completed and written beside the output.

    Returns:
        Lines for the user.
    """
    output = request.options.output
    if is_stream(output):
        record["output"] = output
        return _write(request, output, job, made, read, record, say, log)
    target, aside, store = Path(os.path.realpath(output)), room / "_output", PartFolder(room)
    if aside.exists():
        shutil.rmtree(aside)
    aside.mkdir()
    made_at = aside / target.name
    try:
        lines = _write(request, str(made_at), job, made, read, record, say, log)
    except LegscoreError as error:  # named as the user did
        raise type(error)(str(error).replace(str(made_at), output)) from error
    files = sorted(aside.iterdir(), key=lambda path: (path.name != target.name, path.name))
    for path in files:
        store.note(f"output-{path.name}", checksum_of(path), fingerprint_of(asked))
    with writing(output):
        for path in files:
            os.replace(path, target.with_name(path.name))
        sync_folder(target.parent)
        record |= {"output": output, "asked": asked, "output_files": checksums_of(request.results)}
    write_record(output, sealed(record))
    return [line.replace(f"{aside}{os.sep}", str(Path(output).parent / "_")[:-1]) for line in lines]


def _write(
    request: RunRequest,
    output: str,
    job: Options,
    made: Made | None,
    read: Sequence[Seen],
    record: dict[str, Any],
    say: Say,
    log: RunLog,
) -> list[str]:
    """Write the scores of `job` to `output` in the form that was asked for; lines about it."""
    scored = Path(job.output)
    if request.to_vcf and made is not None:
        from legscore.variants.vcf_out import write_vcf

        source = Path(request.options.inputs[0])
        return write_vcf(
            source, scored, output, str(request.vcf_form), made.contigs, made.lengths, record, made.read
        )
    if request.to_tracks:
        from legscore.variants.tracks import write_tracks

        return write_tracks(scored, output, record)
    return add_null(request, job, output, record, read, say, log)


def add_null(
    request: RunRequest,
    job: Options,
    output: str,
    record: dict[str, Any],
    read: Sequence[Seen],
    say: Say,
    log: RunLog,
) -> list[str]:
    """Score the changes in shuffled inserts as the run scored its rows, and write the rows with p and q.

    Args:
        request: what was asked for.
        job: the options of the run, whose output holds its results.
        output: where rows, p and q go.
        record: of the run, whose settings are those of the null.
        read: what the job's input was before it was scored.
        say: receives lines about resuming; `log`: events.

    Returns:
        One line for the user.
    """
    import numpy as np

    from legscore.variants.shuffle_null import ROW, p_values, write_null, write_with_p

    n, scored, source = request.shuffles, Path(job.output), job.inputs[0]
    changes, results = scored.with_name("_null.parquet"), scored.with_name("_null_scores.parquet")
    settings = record["options"]
    contract, form = Contract.from_json(record["contract"]), settings["sequence_is"]
    adapters = (len(contract.adapter5), len(contract.adapter3)) if form == "oligo" else (0, 0)
    n_changes = write_null(source, changes, n, settings["columns"], adapters, read)
    say(f"null: {n_changes:,} single-base changes in {n:,} shuffled inserts each")
    null = replace(
        job,
        inputs=[str(changes)],
        output=str(results),
        kind=None,
        columns={},
        sequence_is=form,
        keep=ROW,
        calibration=None,
        background=None,
        per_model=False,
    )
    parts = None if is_stream(request.options.output) else str(scored.with_name(NULL))
    staging = Staging(derived_input=True, parts=parts)
    if n_changes:
        told = lambda line: say(line) if line.startswith(("resume", "kept")) else None
        score(null, staging, say=told, log=log)
    p, q = p_values(scored, results if n_changes else None, n)
    metadata = {
        name: record[name] for name in ("legscore", "models", "contract", "engine", "fidelity", "options")
    }
    metadata["options"] = {**metadata["options"], "shuffle_null": n}
    metadata |= {name: record[name] for name in ("variants", "calibration", "background") if name in record}
    write_with_p(scored, p, q, output, request.options.format, metadata)
    return [
        (
            f"p: {int(np.isfinite(p).sum()):,} rows; q ≤ 0.05: {int((q <= 0.05).sum()):,} (smallest "
            "possible p "
            f"{1 / (n + 1):.2g})"
        )
    ]
