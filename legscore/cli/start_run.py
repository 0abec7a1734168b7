"""What `legscore run` asks for, held to its memory, started, and told of at the end."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from legscore.cli.cluster_options import on_cluster, workers_lines
from legscore.cli.progress import scoring_bar
from legscore.cli.variant_options import build_options, roles_of
from legscore.run.options import DIRECT, Options

if TYPE_CHECKING:
    from legscore.cluster.options import ClusterOptions
    from legscore.system.log import RunLog, Say
    from legscore.variants.run_request import RunRequest


def asked(
    shown: Mapping[str, str], *, columns: Sequence[str], shuffle_null: int | None, **given: Any
) -> RunRequest:
    """What the options of the command line ask for; `shown`: what inputs are called that were kept aside."""
    from legscore.run.named_ensembles import split_models
    from legscore.variants.run_request import RunRequest, samples_asked

    names = Options.__dataclass_fields__
    given["models"], given["ensembles"] = split_models(given["models"])
    options = Options(
        columns=roles_of(columns), **{name: value for name, value in given.items() if name in names}
    )
    samples = samples_asked(given["haplotypes"], given["samples"])
    command = shlex.join(["legscore", *sys.argv[1:]])
    return RunRequest(options, build_options(given), samples, shuffle_null or 0, command, shown)


def hold_memory(options: Options, *, by_workers: bool) -> None:
    """Have the system hold this process to --memory, and give back what finished parts took.

    Not with Ray, where it bounds the workers: a Ray started here would inherit what is held. Not with engines
    that reserve more than they use.
    """
    from legscore.engine.choose import choose_engine
    from legscore.system.allocator import give_back_freed_parts
    from legscore.system.memory import Limits, limit_process_memory

    if (
        options.memory
        and not by_workers
        and choose_engine(options.engine)[0] in ("null", "openvino", "native")
    ):
        limit_process_memory(Limits.of(options.memory))
    if options.engine != "torch":
        give_back_freed_parts()


def start(
    request: RunRequest,
    cluster: ClusterOptions | None,
    dry_run: bool,
    log_json: str | None,
    quiet: bool,
    say: Say,
) -> dict[str, Any] | None:
    """Score, with a bar and closing lines, and return the record; or say what scoring would do."""
    from legscore.system.log import finish, logged
    from legscore.variants.genome_run import score_request

    start_workers = partial(on_cluster, cluster)
    with logged(log_json, say, force=request.options.force) as log:
        if dry_run:
            for line in expected(request.options, start_workers, log, say):
                click.echo(line)
            return None
        with scoring_bar(quiet) as progress:
            record, lines = score_request(
                request, say=say, progress=progress, log=log, start_workers=start_workers
            )
        finish(log, record)
    if record.get("already_finished"):
        say(f"{record['output']}: already finished ({record['rows']:,} rows); --force scores it again")
        return record
    for line in (*workers_lines(record), *closing(record), *lines):
        say(line)
    return record


def expected(job: Options, start_workers: Callable[..., Any], log: RunLog, say: Say) -> list[str]:
    """What a run would do and how long it would take, measured here or by a worker."""
    from legscore.measure.dry_run import Expected, expect, said, said_of_both
    from legscore.run.prepare import prepared

    def measured(options: Options) -> tuple[Expected, int]:
        with start_workers(options, DIRECT, log) as workers:
            if workers is not None:
                found: tuple[Expected, int] = workers.expect(options, say)
                return found
            with prepared(options, say) as plan:
                return expect(plan), 1

    if job.student is None:
        return said(*measured(job))
    from legscore.run.first_pass import check_both_passes

    first = check_both_passes(job, f"{job.output}.student")
    (student, _), (ensemble, n_workers) = measured(first.options), measured(job)
    n_rows = first.opened.n_rows
    chosen = first.rescore.rows_of(n_rows) / max(n_rows, 1) if first.rescore.is_rank else None
    return said_of_both(student, ensemble, chosen, first.sample_share, n_workers)


def cascade_lines(record: dict[str, Any]) -> list[str]:
    """What a cascade found, or the thresholds of a student's own run."""
    if cascade := record.get("cascade"):
        from legscore.run.rescore_check import check_line

        rows = cascade["rows"]
        ensemble = rows["ensemble"] + rows["unread_by_student"]
        return [f"scored by: student {rows['student']:,}, ensemble {ensemble:,}", check_line(cascade)]
    if found := record.get("thresholds"):
        told = ", ".join(f"{one['abs_effect']:.4g} ({100 * one['share']:.3g}%)" for one in found)
        return [f"thresholds: 'abs_effect>X' takes the largest effects with X = {told}"]
    return []


def closing(record: dict[str, Any]) -> list[str]:
    """Summary lines: rows by status, windows, rate."""
    from legscore.run.verify import closing_line
    from legscore.system.publish import is_stream, record_of

    counts = ", ".join(f"{name} {count:,}" for name, count in record["status"].items())
    saved = record["windows_asked"] - record["windows_scored"]
    lines = [
        f"rows: {record['rows']:,} ({counts or 'none'})",
        f"windows: {record['windows_scored']:,} scored, {saved:,} saved because equal to others",
        *(
            [f"members: {1 - record['windows_x_members_of_all']:.0%} of windows × members saved"]
            if record["options"]["until_se"]
            else []
        ),
        (
            f"time: {record['seconds']:,.1f} s, {record['rows_per_s']:,.0f} rows/s, "
            f"{record['windows_per_s']:,.0f} windows/s"
        ),
    ]
    if (checked := record["verify"]) and checked["windows"]:
        lines.append(closing_line(checked))
    lines += cascade_lines(record)
    if record["engine"].get("warning"):
        lines.append(f"engine null: {record['engine']['warning']}")
    output = record["output"]
    if output != "-":
        beside = "" if is_stream(output) else f" (record: {record_of(output)})"
        lines.append(f"output: {output}{beside}")
    return lines
