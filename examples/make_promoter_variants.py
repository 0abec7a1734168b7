"""Write promoter_variants.parquet: every single-base change in 23 well-known yeast promoter inserts.

    python examples/make_promoter_variants.py [OUT]

The inserts are 80 bp, -210 to -130 from the start codon in the gene's 5'→3' direction (S. cerevisiae R64-1-1;
`start`, `end` 0-based half-open, `sequence` on the gene's strand). Each row is one change: `offset` and
`alt_base` on the insert's strand, and the same allele as `chrom`, `pos`, `ref`, `alt` on the plus strand
(1-based).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

PROMOTERS = """
GAL1 YBR020W II 278810 278890 + TTTTTTAGCCTTATTTCTGGGGTAATTAATCAGCGAAGCGATGATTTTTGATCTATTAACAGATATATAAATGGAAAAGC
GAL10 YBR019C II 278482 278562 - CAATATAGCAATGAGCAGTTAAGCGTATTACTGAAAGTTCCAAAGAGAAGGTTTTTTTAGGCTAAGATAATGGGGCTCTT
HIS3 YOR202W XV 721735 721815 + TTTCTATTACTCTTGGCCTCCTCTAGTACACTCTATATTTTTTTATGCCTCGGTAATGATTTTCATTTTTTTTTTTCCAC
PHO5 YBR093C II 431081 431161 - TTTTCGAAGAGATCGCACATGCCAAATTATCAAATTGGTCACCTTACTTGGCAAGGCATATACCCATTTGGGATAAGGGT
CYC1 YJR048W X 526124 526204 + GCCAGGCAACTTTAGTGCTGACACATACAGGCATATATATATGTGTGCGACGACACATGATCATATGGCATGCATGTGCT
ADH1 YOL086C XV 160724 160804 - TCTCTAATGAGCAACGGTATACGGCCTTCCTTCCAGTTACTTGAATTTGAAATAAAAAAAAGTTTGCTGTCTTGCTATCA
TDH3 YGR192C VII 883940 884020 - ATTTGGAAAAAGCTGAAAAAAAAGGTTGAAACCAGTTCCCTGAAATTATTCCCCTACTTGACTAATAAGTATATAAAGAC
PGK1 YCR012W III 137535 137615 + TCTTCTAACCAAGGGGGTGGTTTAGTTTAGTAGAACCTCGTGAAACTTACATTTACATATATATAAACTTGCATAAATTG
ENO2 YHR174W VIII 451116 451196 + ACAAGTGGCACCAAGCATATATAAAAAAAAAAAGCATTATCTTCCTACCAGAGTTGATTGTTAAAAACGTATTTATAGCA
TEF1 YPR080W XVI 700383 700463 + CAATAAAAATTTTTATCACGTTTCTTTTTCTTGAAAATTTTTTTTTTTGATTTTTTTCTCTTTCGATGACCTCCCATTGA
URA3 YEL021W V 115956 116036 + CATCTTTTTTTTTTTTGTTCTTTTTTTTGATTCCGGTTTCTTTGAAATTTTTTTGATTCGGTAATCTCCGAGCAGAAGGA
LEU2 YCL018W III 91113 91193 + AAGGTGAGAGCGCCGGAACCGGCTTTTCATATAGAATAGAGAAGCGTTCATGACTAAATGCTTGCATCACAATACTTGAA
TRP1 YDR007W IV 461631 461711 + GCAGTTATGACGCCAGATGGCAGTAGTGGAAGATATTCTTTATTGAAAAATAGCTTGTCACCTTACGTACAATCTTGATC
ACT1 YFL039C VI 54826 54906 - TTTAATATATATTCATTTATATCACGCTCTCTTTTTATCTTCCTTTTTTTCCTCTCTCTTGTATTCTTCCTTCCCCTTTC
HSP104 YLL026W XII 88412 88492 + TCTCAAAGAACTGCAAATTATATCACAGTAAAAGGCAAAGGGGCGCAAACTTATGCAACCTGCCAGATTATTATATAAGG
SSA4 YER103W V 364378 364458 + GAAGTTAAACAAAACACTGATTCAATAAGCAAGGGGGGAAGCTCCTTAGTTTGACGACAGTAACAAAATGTTCGTATAAA
INO1 YJL153C X 136063 136143 - CTTCTTTCCCAGAATATTGAACTTATTTAATTCACATGGAGCAGAGAAAGCGCACCTCTGCGTTGGCGGCAATGTTAATT
STE2 YFL026W VI 82369 82449 + GGTAAGTACATGATGAAACACATATGAAGAAAAAAGCTTTCCTACATATTCAAGATTTTTTTCTGTGGGTGGAATACTAT
MFA1 YDR461W IV 1384965 1385045 + TTACATGTTAAATGAAACCCAGTAATCAGAAAAAACAGTTAAGAAACCTAAAATGGTAGAGATAAAGATACAGATTCAGT
RPL25 YOL127W XV 80137 80217 + CTTGCTGTTTCTCACTGGACGCACAAGGGGATTTTCTTTCTACCTTCGGCTTGCCTCACTGCGTTGGGGCTTCCCAATGC
RPS5 YJR123W X 651690 651770 + GGTCTCACTGAACCCTTCCACCTTGGGCCAACTTCTACGCTCACGTTAGTAGGTAATGGATTATCCACAATGTGCCCATT
PDC1 YLR044C XII 234211 234291 - TCAGCTTATGGTGATGGCACATTTTTGCATAAACCTAGCTGTCCTCGTTGAACATAGGAAAAAAAAATATATAAACAAGG
HO YDL227C IV 48161 48241 - AAAAGTAAACAGCTATTGCTACTCAAATGAGGTTTGCAGAAGCTTGTTGAAGCATGATGAAGCGTTCTAAACGCACTATT
"""
COMPLEMENT = str.maketrans("ACGT", "TGCA")


def variants() -> pa.Table:
    """5,520 rows: 23 promoters × 80 positions × 3 changes."""
    rows = []
    for line in PROMOTERS.split("\n")[1:-1]:
        gene, gene_id, chrom, start, end, strand, insert = line.split()
        for offset, present in enumerate(insert):
            plus = strand == "+"
            pos = int(start) + offset + 1 if plus else int(end) - offset
            for base in "ACGT":
                if base != present:
                    ref, alt = (
                        (present, base)
                        if plus
                        else (present.translate(COMPLEMENT), base.translate(COMPLEMENT))
                    )
                    rows.append(
                        (
                            gene,
                            gene_id,
                            chrom,
                            pos,
                            ref,
                            alt,
                            strand,
                            int(start),
                            int(end),
                            insert,
                            offset,
                            present,
                            base,
                        )
                    )
    names = [
        *[
            "gene",
            "gene_id",
            "chrom",
            "pos",
            "ref",
            "alt",
            "strand",
            "start",
            "end",
            "sequence",
            "offset",
            "ref_base",
            "alt_base",
        ]
    ]
    table = pa.table([pa.array(column) for column in zip(*rows, strict=True)], names=names)
    for name in ("start", "end", "pos"):
        table = table.set_column(names.index(name), name, table[name].cast(pa.int32()))
    return table.set_column(names.index("offset"), "offset", table["offset"].cast(pa.int16()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    default = Path(__file__).resolve().parent / "promoter_variants.parquet"
    parser.add_argument("out", type=Path, nargs="?", default=default)
    out = parser.parse_args().out
    pq.write_table(variants(), out, compression="zstd")
    print(f"{out}: {variants().num_rows:,} rows")
