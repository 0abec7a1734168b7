"""What `legscore run` does around a scoring job, so that Python callers can do it too.

A VCF, or a table of alleles, becomes a table first. Afterwards scores become an annotated VCF or tracks, or
get p and q from shuffled inserts. Where a student scores first, its pass comes before the ensemble's. All
this happens in a folder beside the output, OUT.parts, which an interrupted run leaves for the next: the table
is made again and compared with what was scored, the scores are taken from there. With standard output it is a
temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from legscore.dna.contract import Contract
from legscore.errors import InputError, OutputError
from legscore.input.files import find_files
from legscore.output.parts import STAGED, STUDENT, SUFFIX, PartFolder, check_parts_folder, parts_folder
from legscore.output.remote_parts import locked_parts, open_store
from legscore.run.finished import finished_record
from legscore.run.job import Workers, score
from legscore.run.options import Options, Staging, margin_of, parse_shifts
from legscore.system.checksum import Seen
from legscore.system.json_records import fingerprint_of
from legscore.system.lock import locked_folder
from legscore.system.log import RunLog, Say, StartProgress
from legscore.system.overwrite import lies_in
from legscore.system.publish import base_of, is_stream, record_of, remove_stale
from legscore.system.storage import is_remote, reason
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
    `finish(record)` returns lines for the user. `finished` is the record where all of it is done already;
    `student_parts` the place of the parts that a student scores."""

    options: Options
    staging: Staging
    finish: Callable[[dict[str, Any]], list[str]]
    finished: dict[str, Any] | None = None
    student_parts: str = ""


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
        if job.finished is not None:
            return job.finished, []
        options, staging, data = job.options, job.staging, None
        if options.student is not None:
            from legscore.run.first_pass import check_both_passes, score_by_student

            first = check_both_passes(options, job.student_parts)
            with start_workers(first.options, staging, log) as workers:
                cascade, part_rows = score_by_student(
                    first, job.student_parts, staging, say=say, progress=progress, log=log, workers=workers
                )
            staging, data = replace(staging, cascade=cascade), first.opened
            options = replace(options, part_rows=part_rows)
            say("pass 2 of 2: the ensemble scores the chosen rows")
        with start_workers(options, staging, log) as workers:
            record = score(options, staging, say=say, progress=progress, log=log, workers=workers, data=data)
        return record, job.finish(record)


@contextlib.contextmanager
def _staged(request: RunRequest, say: Say, log: RunLog) -> Iterator[Job]:
    """The scoring job of a request; whatever is made on its way lies in a folder that this holds."""
    options, build, output = request.options, request.build, request.options.output
    if build is None and not request.scores_aside:
        staging = Staging(
            command=request.command, shown_inputs=request.shown_inputs, derived_input=bool(request.shown)
        )
        if options.student is None:
            yield Job(options, staging, lambda record: [])
            return
        if is_remote(output):
            with _student_in_store(request, staging, say) as found:
                yield found
            return
    with working_folder(output, options.restart) as room:
        made, job, asked = None, options, request.asked()
        done = None if is_stream(output) else _done(request, asked, room, say)
        if done is not None:
            yield Job(options, Staging(), lambda record: [], done)
            return
        if build is not None:
            table = room / "_variants.parquet"
            made = _make(request, table, say, log)
            job = replace(job, inputs=[str(table)], columns={})
        read = _seen(job.inputs, output) if request.shuffles else []
        if request.shuffles:
            check_null_rows(job, contract_of(job))

        def finish(record: dict[str, Any]) -> list[str]:
            if not request.scores_aside:
                return []
            from legscore.variants.run_output import publish_scores

            try:
                return publish_scores(request, asked, room, job, made, read, record, say, log)
            except InputError:  # what was scored cannot become this output, now or later
                PartFolder(room).clear()
                raise

        if request.scores_aside:
            job = replace(job, output=str(room / "_scored.parquet"), format=None, force=True)
        staging = Staging(
            command=request.command,
            shown_inputs=request.shown_inputs,
            derived_input=made is not None or bool(request.shown),
            parts=None if is_stream(output) else str(room / STAGED),
            asked=asked,
        )
        yield Job(job, staging, finish, student_parts=str(room / STUDENT))


@contextlib.contextmanager
def _student_in_store(request: RunRequest, staging: Staging, say: Say) -> Iterator[Job]:
    """The job of a run with a student whose output lies in an object store, and so do the parts of both."""
    options, asked = request.options, request.asked()
    place = f"{options.output.rstrip('/')}{SUFFIX}"
    scores, students = f"{place}/{STAGED}", f"{place}/{STUDENT}"
    done = finished_record(
        options.output, request.results, asked, open_store(scores), force=options.force, on_replace=say
    )
    if done is None and (store := open_store(place)).is_begun():
        if not options.restart:
            raise OutputError(
                f"{place} holds an interrupted run on a table; go on with that, or add --restart to begin "
                "anew"
            )
        store.clear()
    yield Job(options, replace(staging, parts=scores, asked=asked), lambda record: [], done, students)
    for kept in (scores, students):
        with locked_parts(options.output, kept, Path()) as store:
            store.clear()


def _seen(inputs: Sequence[str], output: str) -> list[Seen]:
    """What the files of the input hold that is read twice. InputError when one cannot be read or, in a
    folder, is an earlier output."""
    found, own = [str(file.path) for file in find_files(inputs).files], os.path.abspath(base_of(output))
    if any(lies_in(os.path.abspath(path), own) for path in found):
        raise InputError(
            f"{output} lies in the input of this run; with --shuffle-null choose an -o outside of {inputs[0]}"
        )
    try:
        return [Seen.of(Path(path)) for path in found]
    except OSError as error:
        raise InputError(f"{inputs[0]} cannot be read: {reason(error)}") from error


def _done(request: RunRequest, asked: dict[str, Any], room: Path, say: Say) -> dict[str, Any] | None:
    """The record of an output that is finished as asked; None when it is to be made."""
    options, aside = request.options, request.scores_aside
    store, run = PartFolder(room if aside else room / STAGED), fingerprint_of(asked) if aside else None
    return finished_record(
        options.output, request.results, asked, store, force=options.force, run=run, on_replace=say
    )


@contextlib.contextmanager
def working_folder(output: str, restart: bool) -> Iterator[Path]:
    """A folder for what a run makes on its way: OUT.parts, locked; emptied at the end, or after a failure
    without scores."""
    if is_stream(output):
        with tempfile.TemporaryDirectory(prefix="legscore-") as temporary:
            yield Path(temporary)
        return
    check_parts_folder(parts_folder(output))
    with locked_folder(parts_folder(output), output) as room:
        remove_stale(base_of(output), record_of(output), *track_files(output))
        if PartFolder(room).is_begun():
            if not restart:
                raise OutputError(
                    f"{room} holds an interrupted run on a table; go on with that, or add --restart to "
                    "begin anew"
                )
            PartFolder(room).clear()
        try:
            yield room
        except BaseException:
            if not any(room.glob("*/part-*")):
                with contextlib.suppress(OSError, OutputError):  # the failure itself is the one to report
                    PartFolder(room).clear()
            raise
        PartFolder(room).clear()


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
    margin = 0
    if options.shifts is not None and build.context == "genome":
        margin = margin_of(parse_shifts(options.shifts))
        fitted = replace(fitted, length=fitted.tile_length + 2 * margin)
    made = make(
        source,
        str(table),
        fitted,
        samples=request.samples,
        numbered=request.to_vcf,
        columns=options.columns,
        force=True,
        margin=margin,
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
    if build.length is not None or build.regions_bed is not None:
        return build
    if build.context == "genome":
        human = contract.length == HUMAN_WINDOW
        return replace(build, length=HUMAN_GENOME_WINDOW if human else contract.length)
    if contract.insert_min == contract.insert_max:
        return replace(build, length=contract.insert_min)
    return build
