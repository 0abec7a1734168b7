"""Rows of GTF and GFF3 files (also .gz) that genes are made of, and what the file says of its contigs.

What follows `##FASTA` is no annotation. Features are known whatever their case.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from legscore.errors import InputError
from legscore.variants.lines import read_lines, split_fields, whole_numbers

COLUMNS = ["chrom", "source", "feature", "start", "end", "score", "strand", "phase", "attributes"]
CODING = ("CDS", "stop_codon")
PARTS = ("exon", *CODING)
GENES = r"^\w*gene$"
TRANSCRIPTS = r"^(transcript|\w*_gene_segment|\w*RNA|\w*transcript)$"
WHOLE_CONTIGS = ("region", "chromosome", "contig", "supercontig", "scaffold")
NO_ROW = r"^(#|>|track[ \t]|browser[ \t])"
SPELLING = {"cds": "CDS", "exon": "exon", "gene": "gene", "transcript": "transcript", "mrna": "mRNA"}
STATED_LENGTHS = (
    r"^##sequence-region\s+(?P<name>\S+)\s+1\s+(?P<length>\d+)",
    r"^# Sequence Data:.*seqlen=(?P<length>\d+);seqhdr=\"(?P<name>[^\s\"]+)",  # Prodigal
    r"\(length = (?P<length>\d+), name = (?P<name>\S+)\) -----",  # AUGUSTUS
)


@dataclass
class StatedContigs:
    """What an annotation file says of contigs: lengths in bases; which are mitochondria or circular."""

    lengths: dict[str, int] = field(default_factory=dict)
    mitochondria: list[str] = field(default_factory=list)
    circular: list[str] = field(default_factory=list)

    def take_comments(self, comments: pl.Series) -> None:
        stated = comments.str.contains("##sequence-region|seqlen=|length = ")
        for comment in comments.filter(stated):
            for pattern in STATED_LENGTHS:
                if found := re.search(pattern, comment):
                    self.lengths[found["name"]] = int(found["length"])

    def take_rows(self, frame: pl.DataFrame) -> None:
        """Rows that stand for whole contigs (NCBI, Ensembl, SGD): their ID is the contig's name."""
        whole = frame.filter(pl.col("feature").is_in(WHOLE_CONTIGS) & (pl.col("start") == "1"))
        for chrom, end, text in whole.select("chrom", "end", "attributes").rows():
            own = re.search(r"(?:^|;)\s*ID=([^;]*)", text or "")
            if own and re.fullmatch(rf"(\w+:)?{re.escape(chrom)}(:1\.\.\d+)?", own[1]) and end.isdigit():
                self.lengths[chrom] = int(end)
        region = frame.filter(pl.col("feature") == "region")
        for text, found in (("genome=mitochondrion", self.mitochondria), ("Is_circular=true", self.circular)):
            says = pl.col("attributes").str.contains(rf"(?:^|;){text}(?:;|$)")
            found += region.filter(says)["chrom"].to_list()


def read_features(path: Path, contigs: StatedContigs) -> Iterator[pl.DataFrame]:
    """Rows of a GTF or GFF3 file, chunk by chunk.

    Args:
        contigs: takes in what the file says of contigs, as it is read.

    Yields:
        Frames of `line` (from 1), COLUMNS (text; null where a line is shorter) and `kind`: gene, transcript
        (mRNA, tRNA …), part (exon, CDS, stop_codon), or null for any other feature.

    Raises:
        InputError: no such file, a damaged one, or a line with too few columns (with its number).
    """
    for lines in read_lines(path):
        text, feature = pl.col("text"), pl.col("feature")
        is_row = ~text.str.contains(NO_ROW)
        others = lines.filter(~is_row)
        sequences = others.filter(text.str.contains(r"^(##FASTA\b|>)"))["line"]
        if len(sequences):
            lines, others = (frame.filter(pl.col("line") < sequences[0]) for frame in (lines, others))
        contigs.take_comments(others["text"])
        lines = lines.filter(is_row)
        frame = split_fields(lines, COLUMNS, whole=True)
        spelt = feature.str.to_lowercase().replace_strict(SPELLING, default=None, return_dtype=pl.String)
        frame = frame.with_columns(pl.coalesce(spelt, feature).alias("feature"))
        kind = (
            pl.when(feature.is_in(PARTS))
            .then(pl.lit("part"))
            .when(feature.str.contains(GENES))
            .then(pl.lit("gene"))
            .when(feature.str.contains(TRANSCRIPTS))
            .then(pl.lit("transcript"))
        )
        frame = frame.with_columns(kind.alias("kind"))
        short = frame.filter(
            feature.is_null() | (pl.col("kind").is_not_null() & pl.col("attributes").is_null())
        )
        if len(short):
            raise InputError(
                f"{path}, line {short['line'][0]}: fewer than 9 columns; GTF and GFF3 have 9, separated "
                "by tabs"
            )
        contigs.take_rows(frame)
        yield frame
        if len(sequences):
            return


def with_places(frame: pl.DataFrame, path: Path) -> pl.DataFrame:
    """`start` and `end` as numbers, 0-based half-open. InputError names the line where they are none."""
    frame = whole_numbers(frame, ["start", "end"], path)
    wrong = frame.filter((pl.col("start") < 1) | (pl.col("end") < pl.col("start")))
    if len(wrong):
        row = wrong.row(0, named=True)
        raise InputError(
            f"{path}, line {row['line']}: {row['start']} to {row['end']} is no stretch (1-based, start ≤ end)"
        )
    return frame.with_columns(pl.col("start") - 1)
