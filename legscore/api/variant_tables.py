"""Tables of variants: `legscore variants` as a function."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from legscore.api.calls import Paths, check_files_given, options_of
from legscore.run.python_words import speaks_python, told_in_python
from legscore.system.log import Say
from legscore.variants.run_request import samples_asked


@speaks_python
def build_variants(
    source: str | os.PathLike[str] | None,
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
    saturate: bool = False,
    saturate_indels: bool = False,
    haplotypes: bool = False,
    samples: str | None = None,
    columns: Mapping[str, str] | None = None,
    force: bool = False,
    say: Say | None = None,
) -> int:
    """Write the table of sequences that `score_file` scores: `legscore variants` as a function.

    Args:
        source: VCF or BCF, or a table with chrom, pos (1-based), ref, alt; None for the tiles themselves, or
            with `saturate` every change in them.
        output: file to write, whose ending decides the format: .parquet, .arrow, .csv or .tsv (also .gz).
        fasta: genome, plain or bgzipped, with its .fai.
        promoters: tiles upstream of the transcription starts of a GTF or GFF3.
        regions_bed: tiles from a BED file, whose strand is honoured; instead of promoters.
        centered: a tile around each variant, which has index ⌊length/2⌋; instead of both.
        orientation: strand of centered tiles: `+`, `-`, or `gene` for that of the nearest tile's gene.
        length: bases of a tile; 80 when None.
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
        saturate: every single-base change in every tile, instead of `source`.
        saturate_indels: with `saturate`, every deletion and insertion of one base too.
        haplotypes: one row per distinct haplotype and tile, instead of per allele.
        samples: whose haplotypes: `all`, names with commas, or a file of names; all when None.
        columns: {role: column} of a table of alleles; roles are chrom, pos, ref, alt and variant_id.
        force: replace an output that is there already.
        say: called with one line of text for every decision, such as `print`; without it only what should not
            be missed is told, as `legscore.LegscoreWarning`.

    Returns:
        Rows written.

    Raises:
        LegscoreError: genome, source, options or output do not go together; nothing of the output is left.
    """
    given = dict(locals())
    check_files_given("source", source)
    from legscore.variants.make import make
    from legscore.variants.options import BuildOptions

    made = make(
        None if source is None else os.fspath(source),
        os.fspath(output),
        options_of(BuildOptions, given),
        saturate=saturate,
        indels=saturate_indels,
        samples=samples_asked(haplotypes, samples),
        columns=columns,
        force=force,
        say=told_in_python(say),
    )
    return made.rows
