"""legscore run"""

from __future__ import annotations

from typing import Any

import click

from legscore.cli.cluster_options import cluster_options, cluster_settings
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
    background_option,
    force_option,
    output_option,
    quiet_option,
    speaker,
    threads_option,
    verbose_option,
)
from legscore.cli.sections import Section, SectionedCommand
from legscore.cli.standard_input import kept_inputs
from legscore.cli.start_run import asked, hold_memory, start
from legscore.cli.table_options import column_option, keep_option, sequence_is_option
from legscore.cli.variant_options import READ as VARIANT_FILES
from legscore.cli.variant_options import haplotype_options, variant_options
from legscore.errors import InputError
from legscore.rows.schema import KINDS
from legscore.run.options import DEFAULT_SHARE

FILES = (*VARIANT_FILES, "calibration", "background")
"""Options whose files are read, beside models."""
SECTIONS = (
    Section(
        "Input",
        "kind columns sequence_is max_n",
        ("legscore run oligos.csv --column sequence=dna --sequence-is oligo -o out.csv",),
    ),
    Section(
        "Models",
        "models rc singleton shifts out_of_fold until_se allow_duplicates",
        ("legscore run variants.parquet -m a.safetensors -m more/ -o scores.parquet",),
    ),
    Section(
        "Output",
        "output format_ force keep per_model calibration background shuffle_null file_rows multiqc",
        (
            "legscore run variants.parquet -o scores.tsv --keep id,gene --per-model",
            "bcftools view -r chrII cohort.vcf.gz | legscore run - --fasta genome.fa \\\n"
            "    --promoters genes.gtf -o - --format vcf | bgzip > scored.vcf.gz",
        ),
    ),
    Section(
        "Student first",
        "student rescore rescore_sample force_student",
        (
            "legscore run variants.parquet -m models/ --student s.safetensors --rescore 5% \\\n"
            "    -o scores.parquet",
        ),
    ),
    Section(
        "Genome and tiles",
        "fasta promoters regions_bed centered region length upstream downstream step biotypes transcripts "
        "tss assume_utr orientation contig_map on_mismatch anchor indel context keep_outside "
        "haplotypes samples",
        (
            "legscore run cohort.vcf.gz --fasta genome.fa --promoters genes.gtf \\\n"
            "    -m models/ -o scores.parquet",
            "legscore run cohort.vcf.gz --fasta genome.fa --tiles tiles.bed -o scored.vcf.gz",
        ),
    ),
    Section(
        "Interrupted runs and shards",
        "restart shard part_rows",
        ("legscore run all.parquet -o part3.parquet --shard 3/64",),
    ),
    Section(
        "Cluster",
        "ray workers num_cpus num_gpus",
        ("legscore run all.parquet -o scores/ --ray auto --num-gpus 1",),
    ),
    Section(
        "Engine and memory",
        "threads memory engine precision device",
        ("legscore run variants.parquet -o scores.parquet --threads 4 --memory 8G",),
    ),
    Section(
        "Advanced",
        "dry_run verify recipe log_json quiet verbose help",
        ("legscore run variants.parquet -o scores.parquet --dry-run",),
    ),
)


@click.command(
    "run", cls=SectionedCommand, sections=SECTIONS, short_help="Score sequences or variants with an ensemble."
)
@click.argument("inputs", nargs=-1, required=True, type=click.Path(), metavar="INPUT...")
@output_option(
    "Where the scores go. The ending says the format: .parquet, .arrow, .csv, .tsv (also .gz); of "
    "variants in a genome also .vcf, .vcf.gz, .bcf, .bedgraph, .bw. OUT/ is a folder of Parquet files, - is "
    "standard output."
)
@model_option(
    "A model, or a folder of models; repeat for more. Several are an ensemble, whose mean is the score. "
    "NAME=FOLDER, twice or more: ensembles with columns of their own, and their difference."
)
@click.option(
    "--kind",
    type=click.Choice(list(KINDS)),
    help="What a row is, where its columns fit two kinds: a pair of sequences, an edit of one, or a "
    "sequence.",
)
@column_option
@sequence_is_option
@rc_option
@singleton_option
@click.option(
    "--max-n",
    type=click.IntRange(0),
    metavar="N",
    show_default="half of the sequence",
    help="Most letters other than A, C, G and T; rows with more are not scored.",
)
@keep_option
@click.option("--per-model", is_flag=True, help="Also write the values of every model.")
@engine_options()
@click.option(
    "--recipe",
    type=click.Path(),
    metavar="NAME|FILE",
    show_default="that of the precision",
    help="Settings of the engine.",
)
@device_option()
@threads_option
@click.option(
    "--format",
    "format_",
    type=click.Choice(["tsv", "arrow", "vcf", "bcf"]),
    show_default="tsv",
    help="Format on standard output; vcf and bcf where a VCF goes in.",
)
@click.option("--allow-duplicates", is_flag=True, help="Accept the same model twice; it then weighs twice.")
@click.option(
    "--out-of-fold",
    metavar="COLUMN",
    help="Score each row only with models that were not trained on it: column of folds, or mmh3 to hash as "
    "training did.",
)
@click.option(
    "--shifts",
    metavar="LIST",
    show_default="windows as they are",
    help="Score windows moved along the DNA by so many bases, and average them: 0,7,14 or FROM:TO:STEP. Each "
    "shift takes as long as scoring without.",
)
@click.option(
    "--until-se",
    type=Finite(),
    metavar="SE",
    show_default="all models for every row",
    help="Stop adding models to a row once the standard error of its effect (or score) is below SE.",
)
@click.option(
    "--shuffle-null",
    type=click.IntRange(1),
    metavar="N",
    help="Add p and q: how often the same change has a larger effect in N shuffled inserts. Takes N times as "
    "long.",
)
@click.option(
    "--student",
    type=click.Path(),
    metavar="FILE",
    help="A student of the models, which scores every row first; column scored_by says who scored a row.",
)
@click.option(
    "--rescore",
    metavar="WHICH",
    help="Rows that the models then score again: the largest effects as a share (5%) or number (top:1000), "
    "or those beyond a threshold ('abs_effect>2'; of sequences 'score>12', 'score<4').",
)
@click.option(
    "--rescore-sample",
    type=click.IntRange(0),
    metavar="N",
    show_default="one row in 100, but 1,000 at least, of few rows a tenth, and 10,000 at most",
    help="Random rows that the models score too, to check what was chosen; 0 for none.",
)
@click.option("--force-student", is_flag=True, help="Accept a student that was distilled from other models.")
@force_option
@click.option("--restart", is_flag=True, help="Begin anew, where an interrupted run could be resumed.")
@click.option(
    "--shard", metavar="I/N", help="Score slice I of N of a table; legscore merge joins the outputs."
)
@click.option(
    "--memory",
    metavar="SIZE",
    show_default="half of the machine's",
    help="Most memory of the run, such as 8G. When given, the system holds the run to it once the models are "
    "open.",
)
@click.option(
    "--verify",
    type=Finite(0, 1),
    default=DEFAULT_SHARE,
    show_default=True,
    metavar="SHARE",
    help="Share of the sequences that is scored again in another way; a difference ends the run. 0 is off.",
)
@click.option(
    "--calibration",
    type=click.Path(),
    metavar="FILE",
    help="Add effect_low and effect_high, from legscore evaluate --calibrate or a student that scores.",
)
@background_option
@click.option("--log-json", type=click.Path(), metavar="FILE", help="Append events as JSON lines.")
@click.option(
    "--multiqc",
    type=click.Path(),
    metavar="FILE",
    help="Also write rows by status, rate, engine and fidelity for MultiQC; the name ends in _mqc.json.",
)
@click.option(
    "--part-rows",
    type=click.IntRange(1),
    metavar="N",
    show_default="by models and engine",
    help="Rows that are scored, kept and resumed together.",
)
@click.option(
    "--file-rows",
    type=click.IntRange(1),
    metavar="N",
    show_default="1,048,576",
    help="Most rows of a file, where the output is a folder.",
)
@click.option(
    "--dry-run", is_flag=True, help="Write nothing; say how much there is to do, and how long it will take."
)
@cluster_options
@variant_options
@haplotype_options
@click.option(
    "--null-rate",
    type=Finite(),
    default=0.0,
    hidden=True,
    help="Windows × members a second that --engine null pretends.",
)
@verbose_option
@quiet_option
def command(
    format_: str | None,
    dry_run: bool,
    log_json: str | None,
    multiqc: str | None,
    quiet: bool,
    verbose: bool,
    **given: Any,
) -> None:
    """Score sequences or variants with an ensemble.

    INPUT is a table (Parquet, Arrow, CSV, TSV), FASTA, a folder of Parquet files or a pattern; with --fasta a
    VCF, a BCF or a table of variants; - is standard input. A row of a table is a pair (columns ref_sequence,
    alt_sequence), an edit (sequence, offset counted from 0, alt_base), or a sequence. Every row comes out, in
    order, with a status; the score is missing unless the status is ok.

    \b
    Example:
      legscore run examples/promoter_variants.parquet -o scores.parquet
    """
    from legscore.variants.run_request import check_request

    say = speaker(quiet, verbose)
    with kept_inputs(say) as kept:
        given = kept.of(given | {"inputs": kept.paths(given["inputs"])}, FILES)
        request, cluster = asked(kept.shown, format=format_, **given), cluster_settings(given)
        if cluster is not None and kept.shown:
            raise InputError("--ray reads inputs on other machines, where standard input and pipes are not")
        if dry_run and (request.build is not None or request.shuffles):
            raise InputError("--dry-run looks at a table: make it with legscore variants first")
        check_request(request, log_json, multiqc)
        if multiqc is not None:
            from legscore.run.multiqc import check_multiqc, write_multiqc

            refuse_given(("multiqc",) if dry_run else (), "--dry-run writes nothing")
            check_multiqc(multiqc, force=request.options.force)
        hold_memory(request.options, by_workers=cluster is not None)
        record = start(request, cluster, dry_run, log_json, quiet, kept.saying(say))
        if multiqc is not None and record is not None:
            write_multiqc(multiqc, record)
