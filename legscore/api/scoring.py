"""Files of sequences and of variants: `legscore run` as functions.

Options have the names, meanings and defaults of the command's; the functions write the very bytes that it
writes.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from legscore.api.calls import Models, Paths, check_files_given, options_of, run_request, text_of
from legscore.rows.schema import checked_columns
from legscore.run.options import DEFAULT_SHARE, Options
from legscore.run.python_words import speaks_python
from legscore.run.record import python_call
from legscore.system.log import Say, StartProgress
from legscore.variants.run_request import RunRequest, samples_asked


@speaks_python
def score_file(
    inputs: Paths,
    output: str | os.PathLike[str],
    *,
    models: Models | None = None,
    kind: str | None = None,
    columns: Mapping[str, str] | None = None,
    sequence_is: str = "auto",
    rc: str | None = None,
    singleton: int = 0,
    max_n: int | None = None,
    keep: str = "auto",
    per_model: bool = False,
    engine: str = "auto",
    precision: str = "auto",
    recipe: str | None = None,
    device: str | None = None,
    null_rate: float = 0.0,
    format: str | None = None,
    allow_duplicates: bool = False,
    out_of_fold: str | None = None,
    until_se: float | None = None,
    shifts: str | None = None,
    shuffle_null: int | None = None,
    force: bool = False,
    restart: bool = False,
    shard: str | None = None,
    memory: str | int | None = None,
    verify: float = DEFAULT_SHARE,
    calibration: str | os.PathLike[str] | None = None,
    background: str | os.PathLike[str] | None = None,
    student: str | os.PathLike[str] | None = None,
    rescore: str | None = None,
    rescore_sample: int | None = None,
    force_student: bool = False,
    log_json: str | os.PathLike[str] | None = None,
    part_rows: int | None = None,
    file_rows: int | None = None,
    say: Say | None = None,
    progress: bool | StartProgress | None = None,
) -> dict[str, Any]:
    """Score tables of sequences or of pairs of them: `legscore run` as a function.

    Args:
        inputs: Parquet, Arrow, CSV, TSV or FASTA file, directory, pattern, or several.
        output: file to write, whose ending decides the format: .parquet, .arrow, .csv, .tsv (also .gz),
            .bedgraph or .bw; a name that ends in a slash is a folder of Parquet files.
        models: checkpoint, directory of them, or several; the bundled demonstration ensemble when None. A
            mapping of names to directories scores several ensembles in one pass.
        kind: what a row is, where columns fit two kinds: `pair`, `edit` or `sequence`.
        columns: input column of a role, such as {"sequence": "dna"}.
        sequence_is: `insert`, `oligo` (insert with both adapters), the model's whole `window`, or `auto`:
            decided once, from the first rows.
        rc: strands to score: `construct`, `insert` or `none`; as the models were trained when None.
        singleton: value of the is_singleton channel, 0 or 1.
        max_n: rows with more N's than this get invalid_base; when None, those mostly of N's get mostly_n.
        keep: input columns to carry over: names with commas, `all`, `none`; `auto`: all but sequences.
        per_model: also write every member's values, as fixed-size lists.
        engine: `auto`, `openvino`, `native`, `tensorrt`, `torch`, or `null`, which gives zeros.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        recipe: engine recipe by name or path, instead of the precision's own.
        device: NVIDIA GPUs by number: `0`, `0,1` or `all`; the first when None.
        null_rate: windows × members a second that engine null pretends; 0 for no limit.
        format: `tsv` or `arrow`, on standard output; tsv when None.
        allow_duplicates: accept the same model twice; it then weighs twice.
        out_of_fold: score rows with members that did not train on their fold: column of folds, or `mmh3`.
        until_se: add members to a row until the standard error of its effect (or score) is below this.
        shifts: average over windows moved along the DNA by so many bases: `0,7,14`, or `FROM:TO:STEP`.
        shuffle_null: add p and q: the same change in so many dinucleotide-shuffled inserts.
        force: replace an output that is there already, finished or foreign.
        restart: discard the parts that an interrupted run left, instead of resuming it.
        shard: `3/64`: only the third of 64 slices of the input; `legscore merge` joins the outputs.
        memory: most memory for parts under way and read buffers, such as `8G`, or bytes; half of the
            machine's when None. (The command also has the system hold the process to it.)
        verify: share of the windows that is scored again in FP32, 0 to 1; a drift ends the run.
        calibration: file of `calibrate_effects`, or the student: adds effect_low and effect_high.
        background: file made by `legscore atlas background`: adds percentile, rank and signed_percentile.
        student: a student of the models, which scores every row first; scored_by says who scored a row.
        rescore: which rows the models then score again: the largest effects as a share (`5%`) or number
            (`top:1000`), or those beyond a threshold (`abs_effect>2`; of sequences `score>12`, `score<4`).
        rescore_sample: random rows that the models score too, to check what was chosen; when None one in
            100, but 1,000 at least (a tenth of few rows) and 10,000 at most.
        force_student: accept a student that was distilled from other models.
        log_json: file to append events to, as JSON lines; one that is no such log needs `force`.
        part_rows: rows of a part, the unit of resuming; by members and engine when None.
        file_rows: most rows of a file where the output is a folder; 1,048,576 when None.
        say: called with one line of text for every decision, such as `print`; without it only what should not
            be missed is told, as `legscore.LegscoreWarning`.
        progress: whether to show a bar (`tqdm.auto`): in notebooks only when None; or what is called with
            (rows, members) and returns what takes the rows done since its last call.

    Returns:
        The run's record (rows by status, times in seconds, rates, engine, fidelity), also in OUTPUT.run.json.

    Raises:
        LegscoreError: input, models, options or output do not go together, or the run went wrong; what was
            scored is kept for the next call.
    """
    given = dict(locals())
    check_files_given("inputs", inputs)
    options = options_of(Options, {**given, "columns": checked_columns(columns)})
    call = python_call("legscore.score_file", given)
    request = RunRequest(options, shuffles=shuffle_null or 0, command=call)
    return run_request(request, text_of(log_json), say, progress)


@speaks_python
def score_genome(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    fasta: str | os.PathLike[str],
    promoters: str | os.PathLike[str] | None = None,
    regions_bed: str | os.PathLike[str] | None = None,
    centered: bool = False,
    orientation: str = "+",
    length: int | None = None,
    upstream: int | None = None,
    downstream: int = 0,
    step: int = 40,
    biotypes: str | Sequence[str] = ("protein_coding",),
    transcripts: str = "all",
    tss: str | os.PathLike[str] | None = None,
    assume_utr: int | None = None,
    contig_map: Paths = (),
    on_mismatch: str = "status",
    anchor: str = "3",
    indel: str = "refill",
    context: str = "construct",
    keep_outside: bool = False,
    region: str | Sequence[str] = (),
    haplotypes: bool = False,
    samples: str | None = None,
    models: Models | None = None,
    rc: str | None = None,
    singleton: int = 0,
    max_n: int | None = None,
    keep: str = "auto",
    per_model: bool = False,
    engine: str = "auto",
    precision: str = "auto",
    recipe: str | None = None,
    device: str | None = None,
    null_rate: float = 0.0,
    format: str | None = None,
    allow_duplicates: bool = False,
    out_of_fold: str | None = None,
    until_se: float | None = None,
    shifts: str | None = None,
    shuffle_null: int | None = None,
    force: bool = False,
    restart: bool = False,
    shard: str | None = None,
    memory: str | int | None = None,
    verify: float = DEFAULT_SHARE,
    calibration: str | os.PathLike[str] | None = None,
    background: str | os.PathLike[str] | None = None,
    student: str | os.PathLike[str] | None = None,
    rescore: str | None = None,
    rescore_sample: int | None = None,
    force_student: bool = False,
    log_json: str | os.PathLike[str] | None = None,
    part_rows: int | None = None,
    file_rows: int | None = None,
    say: Say | None = None,
    progress: bool | StartProgress | None = None,
) -> dict[str, Any]:
    """Score the alleles of a VCF, or of a table, in tiles of a genome: `legscore run --fasta` as a function.

    Args:
        source: VCF or BCF, or a table with chrom, pos (1-based), ref, alt.
        output: file to write, whose ending decides the format: .parquet, .arrow, .csv, .tsv (also .gz),
            .vcf, .vcf.gz, .bcf, .bedgraph or .bw; a name that ends in a slash is a folder of Parquet files.
        fasta: genome, plain or bgzipped, with its .fai.
        promoters: tiles upstream of the transcription starts of a GTF or GFF3.
        regions_bed: tiles from a BED file, whose strand is honoured; instead of promoters.
        centered: a tile around each variant, which has index ⌊length/2⌋; instead of both.
        orientation: strand of centered tiles: `+`, `-`, or `gene` for that of the nearest tile's gene.
        length: bases of a tile; what the models read, or 80, when None.
        upstream: bases upstream of a start that tiles reach; 160, or two long tiles, when None.
        downstream: bases downstream of a start that tiles reach.
        step: bases from one tile of a gene to the next.
        biotypes: of the genes that get tiles, one or several; `all` for every one.
        transcripts: of each gene: `all`, or those tagged `canonical` or MANE Select (`mane`).
        tss: table of transcription starts: columns gene and tss (1-based).
        assume_utr: instead, take the base so many upstream of the ATG as the start.
        contig_map: `NAME=FASTA_NAME`, or files of such lines, where the rules do not find contigs' names.
        on_mismatch: when REF is not the genome's base: `status`, `fail` or `use-fasta`.
        anchor: end of the tile that stays when an allele changes its length: `3`, `5` or `center`.
        indel: `refill` from the genome, or `construct`: the insert changes its length.
        context: tiles are inserts of the model's `construct`, or fill its whole window (`genome`).
        keep_outside: also write alleles that lie in no tile, with status no_window.
        region: only records of an indexed VCF in these regions: `CHROM`, `CHROM:POS`, `CHROM:FROM-TO`.
        haplotypes: one row per distinct haplotype and tile, instead of per allele.
        samples: whose haplotypes: `all`, names with commas, or a file of names; all when None.
        models: checkpoint, directory of them, or several; the bundled demonstration ensemble when None. A
            mapping of names to directories scores several ensembles in one pass.
        rc: strands to score: `construct`, `insert` or `none`; as the models were trained when None.
        singleton: value of the is_singleton channel, 0 or 1.
        max_n: rows with more N's than this get invalid_base; when None, those mostly of N's get mostly_n.
        keep: input columns to carry over: names with commas, `all`, `none`; `auto`: all but sequences.
        per_model: also write every member's values, as fixed-size lists.
        engine: `auto`, `openvino`, `native`, `tensorrt`, `torch`, or `null`, which gives zeros.
        precision: `auto`, `fp32`, `bf16` or `fp16`.
        recipe: engine recipe by name or path, instead of the precision's own.
        device: NVIDIA GPUs by number: `0`, `0,1` or `all`; the first when None.
        null_rate: windows × members a second that engine null pretends; 0 for no limit.
        format: `tsv`, `arrow`, or of a VCF `vcf` or `bcf`, on standard output; tsv when None.
        allow_duplicates: accept the same model twice; it then weighs twice.
        out_of_fold: score rows with members that did not train on their fold: column of folds, or `mmh3`.
        until_se: add members to a row until the standard error of its effect (or score) is below this.
        shifts: average over windows moved along the DNA by so many bases: `0,7,14`, or `FROM:TO:STEP`.
        shuffle_null: add p and q: the same change in so many dinucleotide-shuffled inserts.
        force: replace an output that is there already, finished or foreign.
        restart: discard the parts that an interrupted run left, instead of resuming it.
        shard: `3/64`: only the third of 64 slices of the input; `legscore merge` joins the outputs.
        memory: most memory for parts under way and read buffers, such as `8G`, or bytes; half of the
            machine's when None. (The command also has the system hold the process to it.)
        verify: share of the windows that is scored again in FP32, 0 to 1; a drift ends the run.
        calibration: file of `calibrate_effects`, or the student: adds effect_low and effect_high.
        background: file made by `legscore atlas background`: adds percentile, rank and signed_percentile.
        student: a student of the models, which scores every row first; scored_by says who scored a row.
        rescore: which rows the models then score again: the largest effects as a share (`5%`) or number
            (`top:1000`), or those beyond a threshold (`abs_effect>2`; of sequences `score>12`, `score<4`).
        rescore_sample: random rows that the models score too, to check what was chosen; when None one in
            100, but 1,000 at least (a tenth of few rows) and 10,000 at most.
        force_student: accept a student that was distilled from other models.
        log_json: file to append events to, as JSON lines; one that is no such log needs `force`.
        part_rows: rows of a part, the unit of resuming; by members and engine when None.
        file_rows: most rows of a file where the output is a folder; 1,048,576 when None.
        say: called with one line of text for every decision, such as `print`; without it only what should not
            be missed is told, as `legscore.LegscoreWarning`.
        progress: whether to show a bar (`tqdm.auto`): in notebooks only when None; or what is called with
            (rows, members) and returns what takes the rows done since its last call.

    Returns:
        The run's record (rows by status, times in seconds, rates, engine, fidelity), also in OUTPUT.run.json.

    Raises:
        LegscoreError: genome, input, models, options or output do not go together, or the run went wrong;
            what was scored is kept for the next call.
    """
    given = dict(locals())
    check_files_given("source", source)
    from legscore.variants.options import BuildOptions

    request = RunRequest(
        options_of(Options, {**given, "inputs": source}),
        options_of(BuildOptions, given),
        samples_asked(haplotypes, samples),
        shuffle_null or 0,
        python_call("legscore.score_genome", given),
    )
    return run_request(request, text_of(log_json), say, progress)
