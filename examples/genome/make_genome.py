"""Write what the manual's commands read: a toy genome (toy.fa, toy.fa.fai, toy.gtf, toy.vcf, tiles.bed) and
small tables (promoters.fa, pairs.csv, edits.tsv).

    python examples/genome/make_genome.py [FOLDER]

Six promoters of examples/promoter_variants.parquet lie on two contigs, each 130 bases upstream of its start
codon as in yeast, three genes on either strand; what lies between them is random. The VCF holds changes in
and beside the promoters, of every kind that a VCF may hold, for three samples with phased genotypes.
"""

from __future__ import annotations

import argparse
import random
from pathlib import Path

import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
CONTIGS = {"toyI": ("GAL1", "PHO5", "CYC1"), "toyII": ("TDH3", "PDC1", "HIS3")}
STRANDS = {"GAL1": "+", "PHO5": "-", "CYC1": "+", "TDH3": "+", "PDC1": "-", "HIS3": "-"}
UPSTREAM, LEADER, CODING, SPACER = 200, 130, 90, 60
"""Random bases before a promoter, between it and the start codon, in the gene, and between genes."""
OFFSETS = (6, 19, 33, 47, 58, 66, 74)
"""Places in each promoter, from its 5' end, where the VCF changes a base."""
TABLE_ROWS = 60
SAMPLES = ("anna", "ben", "cleo")
COMPLEMENT = str.maketrans("ACGT", "TGCA")
CODONS = ("GCT", "GAA", "AAG", "TTG", "ACC", "GGT", "TCT", "CCA")


def flipped(dna: str) -> str:
    return dna.translate(COMPLEMENT)[::-1]


def dna(chance: random.Random, n: int) -> str:
    """Random bases, 38 % G and C as in yeast."""
    return "".join(chance.choices("ACGT", weights=(31, 19, 19, 31), k=n))


def contigs(inserts: dict[str, tuple[str, str]]) -> tuple[dict[str, str], dict[str, tuple[str, int, int]]]:
    """Sequence of each contig; contig, start and end of what each gene brought (0-based, half-open)."""
    chance = random.Random(1)
    sequences: dict[str, str] = {}
    places: dict[str, tuple[str, int, int]] = {}
    for contig, genes in CONTIGS.items():
        sequence = dna(chance, SPACER)
        for gene in genes:
            codons = "".join(chance.choices(CODONS, k=CODING // 3 - 2))
            made = dna(chance, UPSTREAM) + inserts[gene][1] + dna(chance, LEADER) + "ATG" + codons + "TAA"
            places[gene] = (contig, len(sequence), len(sequence) + len(made))
            sequence += made if STRANDS[gene] == "+" else flipped(made)
            sequence += dna(chance, SPACER)
        sequences[contig] = sequence
    return sequences, places


def on_contig(gene: str, places: dict[str, tuple[str, int, int]], first: int, last: int) -> tuple[int, int]:
    """Bases [first, last) of what a gene brought, counted from its 5' end → the same on the contig."""
    _, start, end = places[gene]
    return (start + first, start + last) if STRANDS[gene] == "+" else (end - last, end - first)


def write_fasta(path: Path, sequences: dict[str, str]) -> None:
    """Lines of 60 bases, and the index."""
    text, index = "", ""
    for name, sequence in sequences.items():
        text += f">{name}\n"
        index += f"{name}\t{len(sequence)}\t{len(text)}\t60\t61\n"
        text += "".join(sequence[at : at + 60] + "\n" for at in range(0, len(sequence), 60))
    path.write_text(text)
    Path(f"{path}.fai").write_text(index)


def write_gtf(
    path: Path, inserts: dict[str, tuple[str, str]], places: dict[str, tuple[str, int, int]]
) -> None:
    """Each gene with one transcript, which starts where its promoter ends."""
    start = UPSTREAM + 80
    end = start + LEADER + CODING
    lines = []
    for gene, (contig, _, _) in places.items():
        gene_id = inserts[gene][0]
        names = f'gene_id "{gene_id}"; gene_name "{gene}"; gene_biotype "protein_coding";'
        transcript = names.replace(";", f'; transcript_id "{gene_id}_mRNA";', 1)
        for feature, first, last, about in (
            ("gene", start, end, names),
            ("transcript", start, end, transcript),
            ("exon", start, end, transcript),
            ("CDS", start + LEADER, end - 3, transcript),
        ):
            low, high = on_contig(gene, places, first, last)
            frame = "0" if feature == "CDS" else "."
            lines.append(
                f"{contig}\ttoy\t{feature}\t{low + 1}\t{high}\t.\t{STRANDS[gene]}\t{frame}\t{about}\n"
            )
    path.write_text("".join(lines))


def records(
    sequences: dict[str, str], places: dict[str, tuple[str, int, int]]
) -> list[tuple[str, int, str, str]]:
    """Contig, position (1-based), REF and ALT, in order."""
    chance = random.Random(2)
    found = []
    for gene, (contig, _, _) in places.items():
        sequence = sequences[contig]
        for offset in OFFSETS:  # single bases in the promoter
            at, _ = on_contig(gene, places, UPSTREAM + offset, UPSTREAM + offset + 1)
            others = "ACGT".replace(sequence[at], "")
            found.append((contig, at + 1, sequence[at], chance.choice(others)))
        at, _ = on_contig(gene, places, UPSTREAM + 120, UPSTREAM + 121)  # one in the leader: no tile
        found.append((contig, at + 1, sequence[at], "ACGT".replace(sequence[at], "")[0]))

    def place(gene: str, offset: int) -> tuple[str, int, str]:
        at, _ = on_contig(gene, places, UPSTREAM + offset, UPSTREAM + offset + 1)
        return places[gene][0], at, sequences[places[gene][0]]

    contig, at, sequence = place("GAL1", 40)
    found.append((contig, at + 1, sequence[at : at + 5], sequence[at]))  # four bases deleted
    contig, at, sequence = place("CYC1", 25)
    found.append((contig, at + 1, sequence[at], sequence[at] + "TATAAA"))  # six inserted
    contig, at, sequence = place("TDH3", 10)
    found.append(
        (contig, at + 1, sequence[at], ",".join("ACGT".replace(sequence[at], "")[:2]))
    )  # two alleles
    contig, at, sequence = place("PDC1", 30)
    found.append(
        (contig, at + 1, sequence[at : at + 2], sequence[at : at + 2].translate(COMPLEMENT))
    )  # two bases at once
    contig, at, sequence = place("HIS3", 40)
    found.append((contig, at + 1, sequence[at], "<DEL>"))  # symbolic
    contig, at, sequence = place("PHO5", 28)
    alt = "ACGT".replace(sequence[at], "")
    found.append((contig, at + 1, alt[0], sequence[at]))  # REF and ALT the wrong way round
    order = list(sequences)
    return sorted(set(found), key=lambda record: (order.index(record[0]), *record[1:]))


def write_vcf(path: Path, sequences: dict[str, str], found: list[tuple[str, int, str, str]]) -> None:
    chance = random.Random(3)
    lines = ["##fileformat=VCFv4.2\n", '##FILTER=<ID=PASS,Description="All filters passed">\n']
    lines += [f"##contig=<ID={name},length={len(sequence)}>\n" for name, sequence in sequences.items()]
    lines.append('##INFO=<ID=END,Number=1,Type=Integer,Description="Last base of the record">\n')
    lines.append('##ALT=<ID=DEL,Description="Deletion">\n')
    lines.append('##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n')
    lines.append(
        "\t".join(("#CHROM", "POS", "ID", "REF", "ALT", "QUAL", "FILTER", "INFO", "FORMAT", *SAMPLES)) + "\n"
    )
    for number, (contig, pos, ref, alt) in enumerate(found, start=1):
        info = f"END={pos + 9}" if alt == "<DEL>" else "."
        alleles = range(alt.count(",") + 2)
        called = ["|".join(str(a) for a in chance.choices(alleles, k=2)) for _ in SAMPLES]
        lines.append(
            "\t".join((contig, str(pos), f"v{number}", ref, alt, ".", "PASS", info, "GT", *called)) + "\n"
        )
    path.write_text("".join(lines))


def write_tables(folder: Path, inserts: dict[str, tuple[str, str]], rows: list[dict[str, object]]) -> None:
    """Each kind of row in a small file: sequences, pairs, edits."""
    (folder / "promoters.fa").write_text(
        "".join(f">{gene}\n{insert}\n" for gene, (_, insert) in inserts.items())
    )
    chosen = rows[:: len(rows) // TABLE_ROWS][:TABLE_ROWS]
    pairs, edits = (
        ["id,gene,ref_sequence,alt_sequence\n"],
        ["id\tgene\tsequence\toffset\tref_base\talt_base\n"],
    )
    for row in chosen:
        insert, at, alt = str(row["sequence"]), int(str(row["offset"])), str(row["alt_base"])
        name = f"{row['gene']}:{at}{row['ref_base']}>{alt}"
        pairs.append(f"{name},{row['gene']},{insert},{insert[:at] + alt + insert[at + 1 :]}\n")
        edits.append(f"{name}\t{row['gene']}\t{insert}\t{at}\t{row['ref_base']}\t{alt}\n")
    (folder / "pairs.csv").write_text("".join(pairs))
    (folder / "edits.tsv").write_text("".join(edits))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=HERE)
    folder = parser.parse_args().folder
    rows = pq.read_table(HERE.parent / "promoter_variants.parquet").to_pylist()
    inserts = {row["gene"]: (row["gene_id"], row["sequence"]) for row in rows}
    sequences, places = contigs(inserts)
    write_fasta(folder / "toy.fa", sequences)
    write_gtf(folder / "toy.gtf", inserts, places)
    write_vcf(folder / "toy.vcf", sequences, records(sequences, places))
    tiles = []
    for gene in ("GAL1", "PHO5"):
        low, high = on_contig(gene, places, UPSTREAM, UPSTREAM + 80)
        tiles.append(f"{places[gene][0]}\t{low}\t{high}\t{gene}\t0\t{STRANDS[gene]}\n")
    (folder / "tiles.bed").write_text("".join(tiles))
    write_tables(folder, inserts, rows)


if __name__ == "__main__":
    main()
