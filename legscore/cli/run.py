"""legscore run"""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

import click

from legscore.cli.cluster_options import cluster_options, cluster_settings, on_cluster, workers_lines
from legscore.cli.output_options import force_option
from legscore.cli.progress import ProgressBar
from legscore.cli.variant_options import build_options, haplotype_options, roles_of, variant_options
from legscore.engine.choose import ENGINES, PRECISION_CHOICES, choose_engine
from legscore.errors import InputError, printable
from legscore.rows.schema import KINDS, RC_MODES, SEQUENCE_IS
from legscore.run.options import DIRECT, Options, Staging
from legscore.run.verify import DEFAULT_SHARE, closing_line
from legscore.system.allocator import give_back_freed_parts
from legscore.system.log import Progress, RunLog, Say, finish, logged
from legscore.system.memory import Limits, limit_process_memory
from legscore.system.publish import record_of
from legscore.variants.genome_run import score_request
from legscore.variants.run_request import RunRequest, check_request, samples_asked


@click.command("run", short_help="Score sequences or variants with an ensemble.")
@click.argument("inputs", nargs=-1, required=True, metavar="INPUT...")
@click.option(
    "-o",
    "--output",
    required=True,
    metavar="OUT",
    help="Parquet, .arrow, .csv, .tsv (also .gz), OUT/ for a folder of Parquet files, - for standard "
    "output; of genomes also "
    ".vcf.gz, .bcf, .bedgraph, .bw.",
)
@click.option(
    "-m",
    "--model",
    "models",
    multiple=True,
    metavar="MODELS",
    help="Checkpoint, directory of them, or bundled; repeat for an ensemble. An existing path goes before a "
    "name. [bundled, a demonstration ensemble for yeast]",
)
@click.option(
    "--kind",
    type=click.Choice(list(KINDS)),
    help="What a row is, where columns fit two kinds: ref+alt pair, edit of a sequence, sequence.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="ROLE=NAME",
    help="Input column for a role, e.g. sequence=dna.",
)
@click.option(
    "--sequence-is",
    type=click.Choice([*SEQUENCE_IS, "auto"]),
    default="auto",
    show_default=True,
    help="Insert, oligo (insert with both adapters) or the model's whole window.",
)
@click.option(
    "--rc",
    type=click.Choice(RC_MODES),
    help=(
        "Second strand: of the whole construct, of the insert in its flanks, or none. [construct for "
        "models trained on both]"
    ),
)
@click.option(
    "--singleton",
    type=click.IntRange(0, 1),
    default=0,
    show_default=True,
    help="Value of the is_singleton channel.",
)
@click.option(
    "--max-n",
    type=click.IntRange(0),
    metavar="N",
    help="Rows with more N's than this get status invalid_base. By default rows get mostly_n where more than "
    "half of a sequence's own bases are no A, C, G or T.",
)
@click.option(
    "--keep",
    default="auto",
    show_default=True,
    metavar="COLS",
    help="Input columns to carry over: names with commas, all, none; auto leaves scored sequences out.",
)
@click.option("--per-model", is_flag=True, help="Also write every member's values, as fixed-size lists.")
@click.option(
    "--engine",
    type=click.Choice(ENGINES),
    default="auto",
    show_default=True,
    help="null writes zeros (for tests of the pipeline).",
)
@click.option("--precision", type=click.Choice(PRECISION_CHOICES), default="auto", show_default=True)
@click.option("--recipe", metavar="NAME|FILE", help="Engine recipe instead of the precision's own.")
@click.option(
    "--device",
    metavar="N|N,N|all",
    help="NVIDIA GPUs to use, by number; several share the work, in order. [0]",
)
@click.option(
    "--format", "format_", type=click.Choice(["arrow", "tsv"]), help="Format on standard output. [tsv]"
)
@click.option("--allow-duplicates", is_flag=True, help="Accept the same model twice; it then weighs twice.")
@click.option(
    "--out-of-fold",
    metavar="COLUMN",
    help=(
        "Score each row only with members that did not train on its fold: column of folds, or mmh3 to hash "
        "as training did."
    ),
)
@click.option(
    "--until-se",
    type=float,
    metavar="SE",
    help=(
        "Stop adding members to a row once the standard error of its effect (or score) is below SE. [all "
        "members]"
    ),
)
@click.option(
    "--shuffle-null",
    type=click.IntRange(1),
    metavar="N",
    help="Add p and q: the same change in N dinucleotide-shuffled inserts. Scores N times as many rows.",
)
@force_option
@click.option(
    "--restart",
    is_flag=True,
    help="Begin anew where an interrupted run left parts, instead of going on with it.",
)
@click.option(
    "--shard", metavar="I/N", help="Score only slice I of N; legscore merge joins the outputs. Tables only."
)
@click.option(
    "--memory",
    metavar="SIZE",
    help="Memory of the run, such as 8G: parts under way and read buffers fit it, and the system holds the "
    "process to it "
    "once the models are open. [half of the machine's, not held]",
)
@click.option(
    "--verify",
    type=click.FloatRange(0, 1),
    default=DEFAULT_SHARE,
    show_default=True,
    metavar="SHARE",
    help="Share of the windows that is scored again in FP32, with every member; a difference ends the run. "
    "0 is off.",
)
@click.option(
    "--calibration",
    metavar="FILE",
    help="Add effect_low, effect_high: intervals fitted by evaluate --calibrate.",
)
@click.option(
    "--log-json",
    metavar="FILE",
    help="Append events as JSON lines: start, part, retry, resume, warning, finish.",
)
@click.option(
    "--part-rows",
    type=click.IntRange(1),
    metavar="N",
    help=(
        "Rows of a part, the unit of resuming and of sharing out; recorded in the output. [by members and "
        "engine]"
    ),
)
@click.option(
    "--file-rows",
    type=click.IntRange(1),
    metavar="N",
    help="Most rows of a file where the output is a folder OUT/. [1,048,576]",
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Write nothing: say how many parts and windows there are and, from 30 seconds, the time.",
)
@cluster_options
@variant_options
@haplotype_options
@click.option(
    "--null-rate",
    type=float,
    default=0.0,
    hidden=True,
    help="Windows × members a second that --engine null pretends.",
)
@click.option("-q", "--quiet", is_flag=True, help="Only errors on standard error.")
def command(format_: str | None, dry_run: bool, log_json: str | None, quiet: bool, **given: Any) -> None:
    """Score sequences or variants with an ensemble.

    A row of INPUT (Parquet, Arrow, CSV, TSV, FASTA; files, directories of Parquet, patterns) is a pair
    (ref_sequence, alt_sequence), an edit (sequence, offset from 0, alt_base, optionally ref_base), or a
    sequence. Every row comes out, in order, with a status; scores are null unless it is ok.

    \b
    Examples:
      legscore run examples/promoter_variants.parquet -o scores.parquet
      legscore run variants.parquet -m models/ -o scores.parquet --per-model
      legscore run cohort.vcf.gz --fasta genome.fa --promoters genes.gtf -m models/ -o scores.parquet
      legscore run cohort.vcf.gz --fasta genome.fa --regions tiles.bed -o scored.vcf.gz
      legscore run all.parquet -m models/ -o part3.parquet --shard 3/64
      legscore run all.parquet -m models/ -o scores/ --ray auto
      legscore run all.parquet -m models/ -o scores.parquet --ray auto --num-gpus 1
      legscore run promoters.fa -m a.safetensors -m b.safetensors -o - | head
    """
    request, cluster = asked(format=format_, **given), cluster_settings(given)
    if dry_run and (request.build is not None or request.shuffles):
        raise InputError("--dry-run looks at a table: make it with legscore variants first")
    check_request(request, log_json)
    hold_memory(request.options, by_workers=cluster is not None)

    def say(line: str) -> None:
        if not quiet:
            click.echo(printable(line), err=True)

    def start_bar(rows: int, members: int) -> Progress:
        return bar.start("scoring" if members == 1 else f"scoring × {members} models", rows, "rows")

    def start_workers(job: Options, staging: Staging, log: RunLog) -> AbstractContextManager[Any]:
        return on_cluster(cluster, job, staging, log)

    bar = ProgressBar(quiet)
    with logged(log_json, say) as log:
        if dry_run:
            with start_workers(request.options, DIRECT, log) as workers:
                for line in expected(request.options, workers, say):
                    click.echo(line)
            return
        try:
            record, lines = score_request(
                request,
                say=say,
                progress=start_bar if bar.shows else None,
                log=log,
                start_workers=start_workers,
            )
        finally:
            bar.close()
        finish(log, record)
    if record.get("already_finished"):
        say(f"{record['output']}: already finished ({record['rows']:,} rows); --force scores it again")
        return
    for line in (*workers_lines(record), *closing(record), *lines):
        say(line)


def asked(*, columns: Sequence[str], shuffle_null: int | None, **given: Any) -> RunRequest:
    """What the options of the command line ask for."""
    names = Options.__dataclass_fields__
    options = Options(
        columns=roles_of(columns), **{name: value for name, value in given.items() if name in names}
    )
    samples = samples_asked(given["haplotypes"], given["samples"])
    command = shlex.join(["legscore", *sys.argv[1:]])
    return RunRequest(options, build_options(given), samples, shuffle_null or 0, command)


def hold_memory(options: Options, *, by_workers: bool) -> None:
    """Have the system hold this process to --memory, and give back what finished parts took.

    Not with Ray, where it bounds the workers: a Ray started here would inherit what is held. Not with engines
    that reserve more than they use.
    """
    if (
        options.memory
        and not by_workers
        and choose_engine(options.engine)[0] in ("null", "openvino", "native")
    ):
        limit_process_memory(Limits.of(options.memory))
    if options.engine != "torch":
        give_back_freed_parts()


def expected(job: Options, workers: Any, say: Say) -> list[str]:
    """What a run would do and how long it would take, measured here or by a worker."""
    if workers is not None:
        lines: list[str] = workers.dry_run(job, say)
        return lines
    from legscore.measure.dry_run import expect, said
    from legscore.run.prepare import prepared

    with prepared(job, say) as plan:
        return said(expect(plan))


def closing(record: dict[str, Any]) -> list[str]:
    """Summary lines: rows by status, windows, rate."""
    counts = ", ".join(f"{name} {count:,}" for name, count in record["status"].items())
    saved = record["windows_asked"] - record["windows_scored"]
    lines = [
        f"rows: {record['rows']:,} ({counts})",
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
    if record["engine"].get("warning"):
        lines.append(f"engine null: {record['engine']['warning']}")
    if record["output"] != "-":
        lines.append(f"output: {record['output']} (record: {record_of(record['output'])})")
    return lines
