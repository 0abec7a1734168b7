"""What `legscore run` does around a scoring job, so that Python callers can do it too.

A VCF, or a table of alleles, becomes a table first. Afterwards scores become an annotated VCF or tracks, or
get p and q from shuffled inserts. Both happen in a folder beside the output, OUT.parts, which an interrupted
run leaves for the next: the table is made again and compared with what was scored, the scores are taken from
there. With standard output it is a temporary folder.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legscore.dna.contract import Contract
from legscore.errors import InputError, OutputError
from legscore.output.parts import STAGED, PartFolder, parts_folder
from legscore.run.job import Workers, score
from legscore.run.options import Options, Staging
from legscore.system.lock import LOCK_NAME, locked_folder
from legscore.system.log import RunLog, Say, StartProgress
from legscore.system.publish import base_of, record_of, remove_stale, write_record
from legscore.system.storage import Stamp, stamp
from legscore.variants.organism import check_organism, check_tile_length, contract_of
from legscore.variants.run_request import RunRequest, check_null_rows, check_request, track_files

if TYPE_CHECKING:
    from legscore.variants.make import Made
    from legscore.variants.options import BuildOptions

HUMAN_WINDOW, HUMAN_GENOME_WINDOW = 230, 231
"""The published human scripts read 231 bases of genome (the variant in the middle) with models of 230-base
oligos."""
StartWorkers = Callable[[Options, Staging, RunLog], AbstractContextManager["Workers | None"]]
"""Starts the processes that score the parts of a job; None for this process."""


@dataclass(frozen=True)
class Job:
    """What is scored: the options of the scoring job, its staging, and what turns the scores into the output;
    `finish(record)` returns lines for the user."""

    options: Options
    staging: Staging
    finish: Callable[[dict[str, Any]], list[str]]


def score_request(
    request: RunRequest,
    *,
    say: Say = lambda line: None,
    progress: StartProgress | None = None,
    log: RunLog | None = None,
    start_workers: StartWorkers = lambda options, staging, log: contextlib.nullcontext(),
) -> tuple[dict[str, Any], list[str]]:
    """Make the input ready, score it, and make the output of the scores; resume what was interrupted.

    Args:
        request: what to do.
        say: receives one line for every decision.
        progress: called with (total rows, members), returns a callable that takes the rows done.
        log: receives events and warnings; by default warnings go to `say`.
        start_workers: starts other processes that score.

    Returns:
        The run's record, also in OUTPUT.run.json, and lines about what was made of the scores.

    Raises:
        LegscoreError: what was asked for does not go together, or went wrong.
    """
    check_request(request)
    log = log or RunLog(say=say)
    check_organism(request.options, request.build, log)
    with _staged(request, say, log) as job:
        with start_workers(job.options, job.staging, log) as workers:
            record = score(job.options, job.staging, say=say, progress=progress, log=log, workers=workers)
        return record, job.finish(record)


@contextlib.contextmanager
def _staged(request: RunRequest, say: Say, log: RunLog) -> Iterator[Job]:
    """The scoring job of a request; whatever is made on its way lies in a folder that this holds."""
    options, build, output = request.options, request.build, request.options.output
    if build is None and not request.scores_aside:
        yield Job(options, Staging(command=request.command), lambda record: [])
        return
    with _working_folder(output, options.restart) as room:
        made, job = None, options
        if build is not None:
            table = room / "_variants.parquet"
            made = _make(request, table, say, log)
            job = replace(job, inputs=[str(table)], columns={})
        read = stamp(Path(job.inputs[0])) if request.shuffles else None
        if request.shuffles:
            check_null_rows(job, contract_of(job))
        scored = room / "_scored.parquet"

        def finish(record: dict[str, Any]) -> list[str]:
            if not request.scores_aside:
                return []
            try:
                if request.shuffles:
                    lines = add_null(request, job, scored, record, read, say, log)
                else:
                    lines = _finished(request, scored, made, record)
            except InputError:  # what was scored cannot become this output, now or later
                _empty(room)
                raise
            record["output"] = output
            write_record(output, json.dumps(record, indent=1) + "\n")
            return lines

        if request.scores_aside:
            job = replace(job, output=str(scored), format=None)
        staging = Staging(
            command=request.command,
            shown_inputs=options.inputs,
            derived_input=made is not None,
            parts=None if output == "-" else str(room / STAGED),
        )
        yield Job(job, staging, finish)


def _finished(request: RunRequest, scored: Path, made: Made | None, record: dict[str, Any]) -> list[str]:
    """Turn the scores into a VCF or tracks; lines about it."""
    output = request.options.output
    if request.to_vcf and made is not None:
        from legscore.variants.vcf_out import write_vcf

        source = Path(request.options.inputs[0])
        return write_vcf(source, scored, output, made.contigs, made.lengths, record, made.read)
    from legscore.variants.tracks import write_tracks

    return write_tracks(scored, output, record)


@contextlib.contextmanager
def _working_folder(output: str, restart: bool) -> Iterator[Path]:
    """A folder for what a run makes on its way: OUT.parts, locked; emptied at the end, or after a failure
    without scores."""
    if output == "-":
        with tempfile.TemporaryDirectory(prefix="legscore-") as temporary:
            yield Path(temporary)
        return
    with locked_folder(parts_folder(output), output) as room:
        remove_stale(base_of(output), record_of(output), *track_files(output))
        if PartFolder(room).is_begun():
            if not restart:
                raise OutputError(
                    f"{room} holds an interrupted run on a table; go on with that, or add --restart to "
                    "begin anew"
                )
            _empty(room)
        try:
            yield room
        except BaseException:
            if not any(room.glob("*/part-*")):
                with contextlib.suppress(OSError):  # the failure itself is the one to report
                    _empty(room)
            raise
        _empty(room)


def _empty(room: Path) -> None:
    for entry in room.iterdir():
        if entry.is_dir():
            shutil.rmtree(entry)
        elif entry.name != LOCK_NAME:
            entry.unlink()


def _make(request: RunRequest, table: Path, say: Say, log: RunLog) -> Made:
    """Write the table of variants that is scored."""
    from legscore.variants.make import make

    options, build, source = request.options, request.build, request.options.inputs[0]
    assert build is not None

    def hushed(line: str) -> None:
        if str(table) not in line:
            say(line)

    contract = contract_of(options)
    say(f"models of: {contract.describe_origin()}")
    fitted = fit_to_model(build, contract)
    check_tile_length(fitted, contract, log)
    made = make(
        source,
        str(table),
        fitted,
        samples=request.samples,
        numbered=request.to_vcf,
        columns=options.columns,
        force=True,
        say=hushed,
    )
    if not made.rows:
        say(
            f"{source}: no allele lies in a tile, so the output is empty; --keep-outside writes them all the "
            "same"
        )
    return made


def fit_to_model(build: BuildOptions, contract: Contract) -> BuildOptions:
    """The options with the length of tile that the models read, where none was given."""
    if build.length is not None:
        return build
    if build.context == "genome":
        human = contract.length == HUMAN_WINDOW
        return replace(build, length=HUMAN_GENOME_WINDOW if human else contract.length)
    if contract.insert_min == contract.insert_max:
        return replace(build, length=contract.insert_min)
    return build


def add_null(
    request: RunRequest,
    job: Options,
    scored: Path,
    record: dict[str, Any],
    read: Stamp | None,
    say: Say,
    log: RunLog,
) -> list[str]:
    """Score the changes in shuffled inserts as the run scored its rows, and write the rows with p and q.

    Args:
        request: what was asked for; `job`: the options whose results are in `scored`.
        record: of the run, whose settings are those of the null.
        read: what the job's input was before it was scored.
        say: receives lines about resuming; `log`: events.

    Returns:
        One line for the user.
    """
    import numpy as np

    from legscore.variants.shuffle_null import ROW, p_values, write_null, write_with_p

    n, output, source = request.shuffles, request.options.output, job.inputs[0]
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
        per_model=False,
    )
    parts = None if output == "-" else str(scored.with_name("null_scores"))
    staging = Staging(derived_input=True, parts=parts)
    if n_changes:
        told = lambda line: say(line) if line.startswith(("resume", "kept")) else None
        score(null, staging, say=told, log=log)
    p, q = p_values(scored, results if n_changes else None, n)
    metadata = {
        name: record[name] for name in ("legscore", "models", "contract", "engine", "fidelity", "options")
    }
    metadata["options"] = {**metadata["options"], "shuffle_null": n}
    metadata |= {name: record[name] for name in ("variants", "calibration") if name in record}
    write_with_p(scored, p, q, output, request.options.format, metadata)
    return [
        (
            f"p: {int(np.isfinite(p).sum()):,} rows; q ≤ 0.05: {int((q <= 0.05).sum()):,} (smallest "
            "possible p "
            f"{1 / (n + 1):.2g})"
        )
    ]
