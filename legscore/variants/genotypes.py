"""Genotypes of chosen records: which allele each haplotype of each sample carries, and what is phased with
what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from legscore.errors import InputError, nearest, shorten
from legscore.input.source import READ_ERRORS
from legscore.variants.vcf_file import is_vcf, open_vcf, unreadable

MISSING, ABSENT = -1, -2
UNPHASED = 0


@dataclass(frozen=True)
class Genotypes:
    """One record. `alleles_SP` int16 [samples, ploidy]: 0 is REF, MISSING a dot, ABSENT beyond a sample's
    ploidy. `phase_S` int64: records with the same number other than UNPHASED are phased together."""

    alleles_SP: np.ndarray
    phase_S: np.ndarray


def choose_samples(path: str | Path, asked: str) -> list[str]:
    """--samples: `all`, names separated by commas, or a file of one name a line. InputError for an unknown
    name."""
    if not is_vcf(path):
        raise InputError(f"--haplotypes needs a VCF or BCF with samples; {path} is a table")
    with open_vcf(Path(path)) as file:
        there = list(file.header.samples)
    if not there:
        raise InputError(f"--haplotypes: {path} has no samples")
    if asked == "all":
        return there
    names = Path(asked).read_text(encoding="utf-8").split("\n") if Path(asked).is_file() else asked.split(",")
    names = list(dict.fromkeys(name.strip() for name in names if name.strip()))
    for name in names:
        if name not in there:
            raise InputError(
                f"--samples: {path} has no sample {name!r}{nearest(name, there)}; it has {shorten(there)}"
            )
    if not names:
        raise InputError("--samples names no sample")
    return names


def read_genotypes(path: Path, samples: Sequence[str], wanted: np.ndarray) -> Iterator[tuple[int, Genotypes]]:
    """(record number from 0, Genotypes) of the records in `wanted` (ascending). InputError for damaged
    records."""
    known: dict[str, tuple[tuple[int, ...], bool]] = {}
    chosen = set(wanted.tolist())
    number = -1
    with open_vcf(path) as file:
        place = {name: i for i, name in enumerate(file.header.samples)}
        rank = {column: column for column in place.values()}
        # htslib's own signs
        if len(samples) < len(place) and not any("," in name or name.startswith("^") for name in samples):
            file.subset_samples(list(samples))
            rank = {column: i for i, column in enumerate(sorted(place[name] for name in samples))}
        order = np.array([rank[place[name]] for name in samples])
        try:
            for number, record in enumerate(file):
                if number in chosen:
                    yield number, _genotypes(str(record), order, known)
        except READ_ERRORS as error:
            raise unreadable(path, number + 1, error) from error


def _genotypes(line: str, order: np.ndarray, known: dict[str, tuple[tuple[int, ...], bool]]) -> Genotypes:
    """Distinct genotypes are parsed once; a line of thousands of samples has a handful."""
    fields = line.rstrip("\n").split("\t")
    keys = fields[8].split(":") if len(fields) > 8 else []
    if "GT" not in keys:
        return Genotypes(
            np.full((len(order), 1), MISSING, dtype=np.int16), np.zeros(len(order), dtype=np.int64)
        )
    texts, sets = fields[9:], []
    if "PS" in keys or keys[0] != "GT":
        values = [text.split(":") for text in texts]
        at = keys.index("GT")
        texts = [value[at] if at < len(value) else "." for value in values]
        if "PS" in keys:
            at = keys.index("PS")
            sets = [value[at] if at < len(value) else "." for value in values]
    elif len(keys) > 1:
        texts = [text.partition(":")[0] for text in texts]
    encoded = pa.array(texts, pa.string()).dictionary_encode()
    which = encoded.indices.to_numpy()[order]
    parsed = []
    for text in encoded.dictionary.to_pylist():
        if text not in known:
            known[text] = _parse(text)
        parsed.append(known[text])
    ploidy = max(len(parsed[kind][0]) for kind in np.unique(which))
    alleles = np.full((len(parsed), ploidy), ABSENT, dtype=np.int16)
    for kind, (numbers, _) in enumerate(parsed):
        if len(numbers) <= ploidy:  # a longer one is of a sample that was not asked for
            alleles[kind, : len(numbers)] = numbers
        if numbers == (MISSING,):  # a single dot: nothing is known of any haplotype
            alleles[kind] = MISSING
    phased = np.array([phased for _, phased in parsed])[which]
    phase = phased.astype(np.int64)
    if sets:
        numbers_S = [int(text) + 2 if text.isdecimal() else 1 for text in sets]
        phase = np.where(phased, np.array(numbers_S, dtype=np.int64)[order], UNPHASED)
    return Genotypes(alleles[which], phase)


def _parse(text: str) -> tuple[tuple[int, ...], bool]:
    """Alleles of a GT and whether all of it is phased (4.4 may begin with a separator)."""
    phased = "/" not in text
    parts = text.lstrip("|/").replace("|", "/").split("/")
    return tuple(int(part) if part.isdecimal() else MISSING for part in parts), phased


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
