"""The reporters of the two papers: what lies around an insert, and whose cells measured it."""

from __future__ import annotations

from typing import Any

YEAST_FLANK5 = (
    "AGTCCACTATTAAAGAACGTGGACTCCAACGTCAAAGGGCGAAAAACCGTCTATCAGGGCGATGGCCCACTACGTGAACCATCACCC"
    "TAATCAAGTGCTAGCAGGAATGATGCAAAAGGTTCCCGATTCGAACTGCATTTTTTTCACATC"
)
"""The 150 plasmid bases 5' of the insert in the yeast reporter; the last 17 are the oligo's 5' adapter."""

YEAST_CONSTRUCT: dict[str, Any] = {
    "length": 150, "flank5": YEAST_FLANK5, "flank3": "GGTTACGGCTGTT",
    "adapter5": "TGCATTTTTTTCACATC", "adapter3": "GGTTACGGCTGTT", "insert_min": 1, "insert_max": 137,
}  # fmt: skip
"""Reporter of de Boer et al. 2020 and DREAM 2022: 80-bp inserts in 17 + 13, read in a 150-bp window."""

HUMAN_CONSTRUCT: dict[str, Any] = {
    "length": 230, "flank5": "AGGACCGGATCAACT", "flank3": "CATTGCGTGAACCGA",
    "adapter5": "AGGACCGGATCAACT", "adapter3": "CATTGCGTGAACCGA", "insert_min": 200, "insert_max": 200,
}  # fmt: skip
"""lentiMPRA of Agarwal et al.: 200-bp inserts in 15 + 15, read in a 230-bp window."""

HUMAN_UPSTREAM = "GGCCCGCTCTAGACCTGCAGG"
HUMAN_DOWNSTREAM = "CACTAGAGGGTATATAATGGAAGCTCGACTTCCAGCTTGGCAATCCGGTACTGT"
"""The lentiMPRA vector before and after that window: what moved windows move into."""

YEAST_ORIGIN: dict[str, Any] = {"organism": "Saccharomyces cerevisiae", "assay": "GPRA"}
"""Gigantic parallel reporter assay: cells sorted into bins by the reporter's fluorescence. The medium
differs."""

HUMAN_ORIGIN: dict[str, Any] = {"organism": "Homo sapiens", "assay": "lentiMPRA"}
"""The cell line differs."""
