"""How fast are annotations read? GTF and GFF3 of the form of a human one: genes of up to ten transcripts with
exons, coding parts and UTRs, each row with all its attributes.

With --against a checkout of other code, the two take turns in processes of their own (start included); what
they read is compared first. Expected: within 20 % of the code before checks of loci and parents came.

    python bench/annotation.py [--lines 300000] [--rounds 5] [--against PATH] [--save]
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import TextIO

import polars as pl
from against import Job, compare
from machine import alternate, arguments, finish

from legscore.variants.annotation import read_annotation

CODE = """
import sys
from legscore.variants.annotation import read_annotation
read_annotation(sys.argv[1]).transcripts.write_parquet(sys.argv[2])
"""
SHARED = ["gene", "gene_name", "biotype", "chrom", "start", "end", "strand", "cds_start", "cds_end"]


def write(gtf: TextIO, gff: TextIO, lines: int) -> None:
    """`lines` rows of GTF, and the same genes as GFF3."""
    draw, written, gene = random.Random(1), 0, 0
    ends = dict.fromkeys(range(1, 23), 10_000)

    def row(feature: tuple[str, str], start: int, end: int, attributes: tuple[str, str]) -> None:
        nonlocal written
        for stream, name, text in zip((gtf, gff), feature, attributes, strict=True):
            stream.write(f"{contig}\thavana\t{name}\t{start}\t{end}\t.\t{strand}\t.\t{text}\n")
        written += 1

    while written < lines:
        gene += 1
        contig, strand, codes = draw.randint(1, 22), draw.choice("+-"), draw.random() < 0.4
        start, kind = ends[contig], "protein_coding" if codes else "lncRNA"
        end = start + draw.randint(3_000, 60_000)
        ends[contig] = end + 2_000
        name = f"GENE{gene}"
        of_gene = f'gene_id "ENSG{gene:011d}"; gene_version "5"; gene_name "{name}"; gene_biotype "{kind}";'
        named = f"ID=gene:ENSG{gene:011d};Name={name};biotype={kind};description=a gene;version=5"
        row(("gene", "gene"), start, end, (of_gene, named))
        for number in range(draw.choice((2, 4, 6, 10) if codes else (1, 1, 2, 3))):
            own = f"ENST{gene:08d}{number:03d}"
            n_exons = draw.randint(2, 14)
            cuts = sorted(draw.sample(range(start, end), 2 * n_exons))
            text = f'{of_gene} transcript_id "{own}"; transcript_name "{name}-{number}"; tag "basic"; '
            text += 'transcript_support_level "1";'
            below = f"ID=transcript:{own};Parent=gene:ENSG{gene:011d};Name={name}-{number};biotype={kind}"
            row(("transcript", "mRNA" if codes else "lnc_RNA"), cuts[0], cuts[-1], (text, below))
            exons = list(zip(cuts[::2], cuts[1::2], strict=True))
            parent = f"Parent=transcript:{own}"
            for at, (left, right) in enumerate(exons if strand == "+" else exons[::-1], 1):
                more = f'{text} exon_number "{at}"; exon_id "ENSE{own}{at}"; exon_version "1";'
                row(("exon", "exon"), left, right, (more, f"{parent};Name=ENSE{own}{at};rank={at}"))
                if codes:
                    row(("CDS", "CDS"), left, right, (more, f"ID=CDS:{own};{parent};protein_id={own}"))
            if codes:
                row(("five_prime_utr", "five_prime_UTR"), cuts[0], cuts[0] + 2, (text, parent))


def same(before: Path, now: Path) -> None:
    """SystemExit unless the transcripts are the same, in any order."""
    frames = [pl.read_parquet(path).select(SHARED).sort(SHARED) for path in (before, now)]
    if not frames[0].equals(frames[1]):
        raise SystemExit("the two read other transcripts; no timing of wrong ones")


def main() -> None:
    options = arguments(__doc__ or "", lines=300_000, rounds=5, against="")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = {form: folder / f"a.{form}" for form in ("gtf", "gff3")}
        with open(paths["gtf"], "w") as gtf, open(paths["gff3"], "w") as gff:
            write(gtf, gff, options.lines)
        if options.against:
            jobs = {
                form: Job(lambda out, path=path: ("-c", CODE, path, out), same)  # type: ignore[misc]
                for form, path in paths.items()
            }
            found = compare(jobs, options.against, folder, options.rounds)
            finish("annotation_against", {"lines": options.lines, **found}, options.save)
            return
        reads = {form: lambda path=path: read_annotation(path) for form, path in paths.items()}
        rates = alternate(reads, dict.fromkeys(paths, float(options.lines)), options.rounds)  # type: ignore[arg-type]
        for form, rate in rates.items():
            print(f"{form:5s} {rate / 1e6:6.2f} M lines/s")
        finish("annotation", {"lines_per_s": rates, "lines": options.lines}, options.save)


if __name__ == "__main__":
    main()
