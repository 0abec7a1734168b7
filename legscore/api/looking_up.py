"""Scores of variants from an atlas: `legscore lookup` as a function."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from legscore.api.calls import Paths, RunRecord, check_files_given, options_of
from legscore.atlas.look_up import look_up
from legscore.atlas.options import LookupOptions
from legscore.run.python_words import speaks_python, told_in_python
from legscore.run.record import python_call
from legscore.system.log import Say


@speaks_python
def lookup_variants(
    source: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    atlas: str | os.PathLike[str],
    fasta: str | os.PathLike[str],
    score_misses: bool = False,
    models: Paths | None = None,
    engine: str = "auto",
    precision: str = "auto",
    device: str | None = None,
    allow_other_engine: bool = False,
    drop_outside: bool = False,
    on_mismatch: str = "status",
    contig_map: Paths = (),
    region: str | Sequence[str] = (),
    columns: Mapping[str, str] | None = None,
    background: str | os.PathLike[str] | None = None,
    format: str | None = None,
    force: bool = False,
    say: Say | None = None,
) -> dict[str, Any]:
    """Find the scores of variants in an atlas: `legscore lookup` as a function.

    Args:
        source: VCF or BCF, or a table with chrom, pos (1-based), ref, alt.
        output: file to write: a table by its ending, of a VCF also an annotated VCF; `-` is standard output.
        atlas: folder that `legscore atlas build` made.
        fasta: the genome that the atlas was made of, plain or bgzipped, with its .fai.
        score_misses: score variants in tiles that the atlas does not have, with its models and its engine.
        models: the atlas's models, for that: checkpoint, directory of them, or several; the bundled
            demonstration ensemble when None.
        engine: the atlas's when `auto`; `openvino`, `native`, `tensorrt`, `torch`, or `null`, which gives
        zeros.
        precision: the atlas's when `auto`; `fp32`, `bf16` or `fp16`.
        device: NVIDIA GPUs by number: `0`, `0,1` or `all`; the first when None.
        allow_other_engine: score misses with another engine where the atlas's cannot be had; the output says
        so.
        drop_outside: leave out variants that lie in no tile.
        on_mismatch: when REF is not the genome's base: `status`, `fail` or `use-fasta`.
        contig_map: `NAME=FASTA_NAME`, or files of such lines, where the rules do not find contigs' names.
        region: only records of an indexed VCF in these regions: `CHROM`, `CHROM:POS`, `CHROM:FROM-TO`.
        columns: {role: column} of a table of alleles; roles are chrom, pos, ref, alt and variant_id.
        background: file made by `legscore atlas background`: adds percentile, rank and signed_percentile.
        format: `tsv`, `arrow`, or of a VCF `vcf` or `bcf`, on standard output; tsv when None.
        force: replace an output that is there already.
        say: called with one line of text for every decision, such as `print`; without it only what should not
            be missed is told, as `legscore.LegscoreWarning`.

    Returns:
        The lookup's record: rows, hits, misses, rows by status; also in OUTPUT.run.json.

    Raises:
        LegscoreError: the input, the genome or the models do not fit the atlas, or something cannot be read
            or written; no output is left.
    """
    given = {**locals(), "columns": dict(columns or {})}
    check_files_given("source", source)
    options = options_of(LookupOptions, given)
    options = replace(options, command=python_call("legscore.lookup_variants", given))
    told = told_in_python(say)
    record, lines = look_up(options, say=told)
    for line in lines:
        told(line)
    return RunRecord(record)
