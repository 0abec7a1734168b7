"""--region → stretches of contigs, in the forms that bcftools takes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from legscore.errors import InputError, nearest

Stretches = dict[str, list[tuple[int, int]]]
"""Contig → stretches, 0-based half-open, sorted and apart."""
END_OF_CONTIG = (1 << 31) - 1
"""The farthest that pysam takes."""
FORMS = "write CHROM, CHROM:POS, CHROM:FROM- or CHROM:FROM-TO (1-based, commas in numbers allowed)"
_RANGE = re.compile(r"(?P<first>[0-9,]+)?(?P<dash>-)?(?P<last>[0-9,]+)?")


def parse_regions(regions: Sequence[str], contigs: Sequence[str], path: Path) -> Stretches:
    """Regions as stretches. A name that holds a colon may stand in braces: {HLA-A*01:01}:1-500.

    Args:
        contigs: names of the VCF at `path`.

    Raises:
        InputError: no such contig, a form that is not known, or a text that fits two contigs.
    """
    found: Stretches = {}
    for region in regions:
        name, span = _split(region, contigs, path)
        found.setdefault(name, []).append(_stretch(region, span))
    return {name: _merged(stretches) for name, stretches in found.items()}


def _split(region: str, contigs: Sequence[str], path: Path) -> tuple[str, str | None]:
    """The contig and what follows its colon, None where nothing does."""
    if region.startswith("{") and "}" in region:
        name, _, rest = region[1:].rpartition("}")
        if rest and not rest.startswith(":"):
            raise InputError(f"--region {region}: {rest!r} follows the name; {FORMS}")
        found = (name, rest[1:] if rest else None)
    else:
        name, colon, rest = region.rpartition(":")
        whole, cut = region in contigs, bool(colon) and name in contigs
        if whole and cut:
            raise InputError(
                f"--region {region} is a contig of {path} and a place on {name}; write {{{region}}} or "
                f"{{{name}}}:{rest}"
            )
        found = (region, None) if whole or not colon else (name, rest)
    if found[0] not in contigs:
        raise InputError(f"--region {region}: {path} has no contig {found[0]!r}{nearest(found[0], contigs)}")
    return found


def _stretch(region: str, span: str | None) -> tuple[int, int]:
    if span is None:
        return 0, END_OF_CONTIG
    match = _RANGE.fullmatch(span)
    if not span or match is None or (match["last"] and not match["dash"]):
        raise InputError(f"--region {region}: {span!r} is no position; {FORMS}")
    try:
        first, last = (
            None if text is None else int(text.replace(",", "")) for text in (match["first"], match["last"])
        )
    except ValueError:  # commas alone
        raise InputError(f"--region {region}: {span!r} is no position; {FORMS}") from None
    if first is None and last is None:
        raise InputError(f"--region {region}: {span!r} is no position; {FORMS}")
    if not match["dash"]:
        last = first
    start = 1 if first is None else first
    stop = END_OF_CONTIG if last is None else min(last, END_OF_CONTIG)
    if not 1 <= start <= stop:
        raise InputError(f"--region {region}: {span!r} holds no base; positions begin at 1")
    return start - 1, stop


def _merged(stretches: list[tuple[int, int]]) -> list[tuple[int, int]]:
    apart: list[tuple[int, int]] = []
    for start, stop in sorted(stretches):
        if apart and start <= apart[-1][1]:
            apart[-1] = (apart[-1][0], max(stop, apart[-1][1]))
        else:
            apart.append((start, stop))
    return apart
