"""Companion: genomes, annotations and VCFs → tables of variants that `legscore run` scores. Only the command
line imports it."""
