"""Genotypes: which allele each haplotype of a sample carries, and which records are phased together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from legscore.errors import InputError, listed, nearest
from legscore.system.small_files import read_small
from legscore.variants.sites import Site, field_of
from legscore.variants.vcf_file import is_vcf, open_vcf

MISSING, ABSENT = -1, -2
UNPHASED, UNNAMED = 0, 1
"""Phase sets: none, and the one of genotypes that are phased without naming theirs."""


@dataclass(frozen=True)
class Genotypes:
    """One record. `alleles_SP` int16 [samples, ploidy]: 0 is REF, MISSING a dot, ABSENT beyond a sample's
    ploidy. `phase_S` int64: records with the same number other than UNPHASED are phased together."""

    alleles_SP: np.ndarray
    phase_S: np.ndarray


def choose_samples(path: str | Path, asked: str) -> list[str]:
    """The samples that --samples asks for.

    Args:
        path: VCF or BCF.
        asked: `all`, names separated by commas, or a file of one name a line.

    Raises:
        InputError: a table, a file without samples, or a name that is not in it.
    """
    if not is_vcf(path):
        raise InputError(f"--haplotypes needs a VCF or BCF with samples; {path} is a table")
    with open_vcf(Path(path)) as file:
        there = list(file.header.samples)
    if not there:
        raise InputError(f"--haplotypes: {path} has no samples")
    if asked == "all":
        return there
    names = _listed(asked) if Path(asked).is_file() else asked.split(",")
    names = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    for name in names:
        if name not in there:
            raise InputError(
                f"--samples: {path} has no sample {name!r}{nearest(name, there)}; "
                f"it has {listed(name, there)}"
            )
    if not names:
        raise InputError("--samples names no sample")
    return names


def _listed(path: str) -> list[str]:
    """The lines of a file of names."""
    try:
        return read_small(path).splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"--samples {path} cannot be read: {error}") from None


class GenotypeParser:
    """Texts of samples → Genotypes. Distinct texts are parsed once: a line of thousands of samples has a
    handful."""

    def __init__(self) -> None:
        self._parsed: dict[str, tuple[tuple[int, ...], bool]] = {}
        self._sets: dict[str | int, int] = {}

    def __call__(self, site: Site, keys: Sequence[str], values: Sequence[str]) -> Genotypes:
        """Genotypes of one record.

        Args:
            keys: the record's FORMAT; values: its samples, as written.

        Raises:
            InputError: a genotype names an allele that the record does not have.
        """
        texts = pa.array(field_of("GT", keys, values), pa.string()).dictionary_encode()
        which_S = texts.indices.to_numpy()
        parsed = [self._genotype(text, site) for text in texts.dictionary.to_pylist()]
        ploidy = max(len(numbers) for numbers, _ in parsed)
        alleles_KP = np.full((len(parsed), ploidy), ABSENT, dtype=np.int16)
        for kind, (numbers, _) in enumerate(parsed):
            alleles_KP[kind, : len(numbers)] = numbers
            if numbers == (MISSING,):  # a single dot: nothing is known of any haplotype
                alleles_KP[kind] = MISSING
        phased_S = np.array([phased for _, phased in parsed])[which_S]
        return Genotypes(alleles_KP[which_S], np.where(phased_S, self._phase_sets(keys, values), UNPHASED))

    def _genotype(self, text: str, site: Site) -> tuple[tuple[int, ...], bool]:
        """Alleles of a GT and whether all of it is phased (from VCF 4.4 on it may begin with a separator)."""
        if text not in self._parsed:
            parts = text.lstrip("|/").replace("|", "/").split("/")
            numbers = tuple(int(part) if part.isdecimal() else MISSING for part in parts)
            self._parsed[text] = (numbers, "/" not in text)
        if max(self._parsed[text][0]) > len(site.alts):
            raise InputError(
                f"{site.where}: genotype {text[:40]!r} names an allele beyond the {len(site.alts)} in ALT; "
                "correct or remove it"
            )
        return self._parsed[text]

    def _phase_sets(self, keys: Sequence[str], values: Sequence[str]) -> np.ndarray:
        """A number for the phase set of every sample, int64: equal where the sets are, as numbers or as
        text; UNNAMED where none is given."""
        key = "PS" if "PS" in keys else "PSL"
        if key not in keys:
            return np.full(len(values), UNNAMED, dtype=np.int64)
        texts = pa.array(field_of(key, keys, values), pa.string()).dictionary_encode()
        numbers = []
        for text in texts.dictionary.to_pylist():
            name = int(text) if text.isdecimal() else text
            unnamed = not text.strip(".,")
            numbers.append(UNNAMED if unnamed else self._sets.setdefault(name, UNNAMED + 1 + len(self._sets)))
        return np.array(numbers, dtype=np.int64)[texts.indices.to_numpy()]


def columns(genotypes: list[Genotypes]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Haplotypes of all samples over some records.

    Returns:
        alleles, int64 [haplotypes, records]; sample of each haplotype, int64; what keeps it from being known,
        text [haplotypes]: empty, `missing_genotype` (phase not known) or `allele_conflict` (the sample's
        ploidy changes here).
    """
    n_samples, most = len(genotypes[0].phase_S), max(g.alleles_SP.shape[1] for g in genotypes)
    alleles = np.full((len(genotypes), n_samples, most), ABSENT, dtype=np.int64)
    for r, one in enumerate(genotypes):
        alleles[r, :, : one.alleles_SP.shape[1]] = one.alleles_SP
    phase = np.stack([one.phase_S for one in genotypes])
    present = alleles != ABSENT
    ploidy = present.sum(axis=2)
    lone = (ploidy == 1) & (alleles[:, :, 0] == MISSING)  # a dot alone stands for every haplotype
    full = np.where(lone, 0, ploidy).max(axis=0)
    full = np.maximum(full, 1)
    alleles = np.where(lone[:, :, None] & (np.arange(most) < full[:, None])[None], MISSING, alleles)
    mixed = (~lone & (ploidy != full)).any(axis=0)
    first = alleles[:, :, :1]
    het = ((alleles != first) & (alleles != ABSENT)).any(axis=2)
    low = np.where(het, phase, np.iinfo(np.int64).max).min(axis=0)
    high = np.where(het, phase, -1).max(axis=0)
    unclear = (het.sum(axis=0) > 1) & ((low == UNPHASED) | (low != high))
    why = np.where(mixed, "allele_conflict", np.where(unclear, "missing_genotype", ""))
    sample, place = np.nonzero(np.arange(most)[None] < full[:, None])
    return alleles[:, sample, place].T, sample, why[sample]
