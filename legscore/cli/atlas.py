"""legscore atlas"""

from __future__ import annotations

import shlex
import sys
from functools import partial
from typing import Any

import click

from legscore.cli.cluster_options import cluster_options, cluster_settings, on_cluster, workers_lines
from legscore.cli.effects import refuse_given
from legscore.cli.model_options import (
    device_option,
    engine_options,
    model_option,
    rc_option,
    singleton_option,
)
from legscore.cli.numbers import Finite
from legscore.cli.output_options import (
    force_option,
    output_option,
    quiet_option,
    speaker,
    threads_option,
    verbose_option,
)
from legscore.cli.progress import scoring_bar
from legscore.cli.sections import Section, SectionedCommand
from legscore.cli.start_run import expected, hold_memory
from legscore.cli.variant_options import OPTIONS
from legscore.errors import InputError
from legscore.run.options import DEFAULT_SHARE, Options

TILES = (
    "fasta", "promoters", "regions_bed", "length", "upstream", "downstream", "step", "biotypes",
    "transcripts", "tss", "assume_utr", "contig_map", "anchor", "indel", "context",
)  # fmt: skip
"""Options of variants that say which tiles, and what becomes of their length."""
SECTIONS = (
    Section(
        "Genome and tiles",
        " ".join(TILES),
        (
            "legscore atlas build --fasta genome.fa --promoters genes.gtf -m models/ -o atlas/",
            "legscore atlas build --fasta genome.fa --tiles tiles.bed --indels -o atlas/",
        ),
    ),
    Section(
        "What is scored",
        "models rc singleton indels",
        ("legscore atlas build --fasta genome.fa --tiles tiles.bed -m a.safetensors -m more/ -o atlas/",),
    ),
    Section(
        "Output",
        "output numbers tabix force",
        ("legscore atlas build --fasta genome.fa --tiles tiles.bed -o atlas/ --tabix vcf",),
    ),
    Section(
        "Interrupted builds and shards",
        "restart shard part_rows",
        ("legscore atlas build --fasta genome.fa --tiles tiles.bed -o part3/ --shard 3/64",),
    ),
    Section(
        "Cluster",
        "ray workers num_cpus num_gpus",
        ("legscore atlas build --fasta genome.fa --tiles tiles.bed -o atlas/ --ray auto --num-gpus 1",),
    ),
    Section(
        "Engine and memory",
        "threads memory engine precision device",
        ("legscore atlas build --fasta genome.fa --tiles tiles.bed -o atlas/ --threads 4 --memory 8G",),
    ),
    Section(
        "Advanced",
        "dry_run verify log_json quiet verbose help",
        ("legscore atlas build --fasta genome.fa --promoters genes.gtf -o atlas/ --dry-run",),
    ),
)


@click.group("atlas", short_help="Score every small change of promoters once, to look them up.")
def command() -> None:
    """Score every small change of promoters once, to look them up.

    \b
    Examples:
      legscore atlas build --fasta genome.fa --promoters genes.gtf -m models/ -o atlas/
      legscore lookup cohort.vcf.gz --atlas atlas/ --fasta genome.fa -o scores.parquet
    """


def tile_options(function: Any) -> Any:
    """The options of TILES."""
    for name in reversed(TILES):
        function = OPTIONS[name](function)
    return function


@command.command("build", cls=SectionedCommand, sections=SECTIONS)
@output_option("The atlas: a folder, which appears when it is complete.", metavar="ATLAS")
@tile_options
@model_option(
    "A model, or a folder of models; repeat for more. Several are an ensemble, whose mean is the score."
)
@click.option("--indels", is_flag=True, help="Every deletion and insertion of one base too.")
@click.option(
    "--numbers",
    type=click.Choice(["float32", "int16"]),
    default="float32",
    show_default=True,
    help="How scores are kept: exactly, or as 16-bit whole numbers times a factor, with their error stated.",
)
@click.option(
    "--tabix",
    type=click.Choice(["vcf", "tsv"]),
    help="Also write all changes as bgzipped text with an index, for bcftools, tabix and VEP.",
)
@rc_option
@singleton_option
@engine_options()
@device_option()
@threads_option
@click.option(
    "--memory",
    metavar="SIZE",
    show_default="half of the machine's",
    help="Most memory of the build, such as 8G. When given, the system holds it to that.",
)
@click.option(
    "--verify",
    type=Finite(0, 1),
    default=DEFAULT_SHARE,
    show_default=True,
    metavar="SHARE",
    help="Share of the sequences that is scored again in another way; a difference ends the build. 0 is off.",
)
@click.option(
    "--part-rows",
    type=click.IntRange(1),
    metavar="N",
    show_default="by models and engine",
    help="Changes that are scored, kept and resumed together.",
)
@click.option(
    "--shard", metavar="I/N", help="Build slice I of N of the genome; legscore atlas merge joins them."
)
@force_option
@click.option("--restart", is_flag=True, help="Begin anew, where an interrupted build could be resumed.")
@click.option(
    "--dry-run", is_flag=True, help="Write nothing; say how much there is to do, and how long it will take."
)
@click.option("--log-json", type=click.Path(), metavar="FILE", help="Append events as JSON lines.")
@cluster_options
@click.option(
    "--null-rate",
    type=Finite(),
    default=0.0,
    hidden=True,
    help="Windows × members a second that --engine null pretends.",
)
@verbose_option
@quiet_option
def build(
    indels: bool,
    numbers: str,
    tabix: str | None,
    shard: str | None,
    dry_run: bool,
    log_json: str | None,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> None:
    """Score every single-base change of tiles, and keep the scores as an atlas.

    The tiles are those of legscore variants: upstream of transcription starts, or as a BED file lists them.
    The atlas is a folder of Parquet files sorted by position, with a manifest; legscore lookup finds scores
    in it.

    \b
    Example:
      legscore atlas build --fasta genome.fa --promoters genes.gtf -m models/ -o atlas/
    """
    if given["fasta"] is None:
        raise InputError("legscore atlas build needs the genome: --fasta FASTA")
    if given["promoters"] is None and given["regions_bed"] is None:
        raise InputError("legscore atlas build needs tiles: --promoters GTF or --tiles BED")
    from legscore.atlas.make_atlas import build_atlas, staged_only
    from legscore.atlas.options import AtlasRequest
    from legscore.system.log import finish, logged
    from legscore.variants.options import BuildOptions

    say = speaker(quiet, verbose)
    cluster = cluster_settings(given | {"shuffle_null": None})
    # by identity: 0 bases are a choice, and 0 == False
    tiles = {
        name: given[name] for name in TILES if given[name] not in (None, ()) and given[name] is not False
    }
    options = Options(
        inputs=(), **{name: given[name] for name in Options.__dataclass_fields__ if name in given}
    )
    request = AtlasRequest(
        options, BuildOptions(**tiles), indels, numbers, tabix, shard, shlex.join(["legscore", *sys.argv[1:]])
    )
    refuse_given(("log_json",) if dry_run else (), "--dry-run does nothing that could be told")
    hold_memory(options, by_workers=cluster is not None)
    start_workers = partial(on_cluster, cluster)
    with logged(log_json, say, force=options.force) as log:
        if dry_run:
            with staged_only(request, say, log) as staged:
                for line in expected(staged.job, start_workers, log, say):
                    click.echo(line)
            return
        with scoring_bar(quiet) as progress:
            record, lines = build_atlas(
                request, say=say, progress=progress, log=log, start_workers=start_workers
            )
        finish(log, record)
    if record.get("already_finished"):
        say(f"{record['output']}: already finished ({record['rows']:,} changes); --force builds it again")
        return
    for line in (*workers_lines(record), *told(record), *lines):
        say(line)


def told(record: dict[str, Any]) -> list[str]:
    """The closing lines of a run but the last, which names the output."""
    from legscore.cli.start_run import closing

    return closing(record)[:-1]


@command.command("merge", cls=SectionedCommand)
@click.argument("shards", nargs=-1, required=True, type=click.Path(), metavar="SHARD...")
@output_option("The whole atlas: a folder.", metavar="ATLAS")
@force_option
@quiet_option
def merge(shards: tuple[str, ...], output: str, force: bool, quiet: bool) -> None:
    """Join the shards of an atlas.

    SHARD... are the folders that legscore atlas build --shard wrote, in any order. The atlas is what one
    build would have made, byte for byte.

    \b
    Example:
      legscore atlas merge part1/ part2/ -o atlas/
    """
    from legscore.atlas.join_shards import join_shards

    join_shards(shards, output, force=force, say=speaker(quiet))


@command.command("background", cls=SectionedCommand)
@click.argument("atlas", type=click.Path(), metavar="ATLAS")
@output_option("The background, .parquet or .pq.", metavar="FILE")
@force_option
@quiet_option
def background(atlas: str, output: str, force: bool, quiet: bool) -> None:
    """Collect the effects that others are ranked against.

    They are those of all single-base changes of ATLAS, in classes of tiles: by distance to the transcription
    start, and by share of G and C. legscore run and legscore lookup take the file with --background, and add
    percentile, rank and signed_percentile.

    \b
    Example:
      legscore atlas background atlas/ -o background.parquet
    """
    from legscore.atlas.background_of import write_background

    write_background(atlas, output, force=force, say=speaker(quiet))
