"""Every option of `run` on a genome has an effect on tables and VCFs, also beside others, or is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pysam
import pytest
from conftest import Ran
from test_option_pairs import (
    BY_GENE,
    ENGINE,
    GENOME,
    TABLE,
    alleles,
    calibration,
    everything,
    metadata_of,
    refused,
    rows_of,
    telling,
    walk,
    words,
)

from legscore.cli import run

__all__ = ["alleles", "everything", "telling"]
Cli = Callable[..., Ran]
OF_RUN = {name: values for name, values in TABLE.items() if name not in ("columns", *ENGINE)}
OF_RUN |= {"keep": ("gene",)}
OF_GENOME = {name: values for name, values in GENOME.items() if not name.startswith("saturate")}


def written(out: Path) -> Any:
    """What a run wrote: its rows, and what its record says of how they were made."""
    if out.suffix == ".parquet":
        return rows_of(out), metadata_of(out)
    rows = [line for line in out.read_text().splitlines() if not line.startswith("##legscore")]
    record = json.loads(Path(f"{out}.run.json").read_text())
    changes = (
        "started",
        "seconds",
        "rows_per_s",
        "windows_per_s",
        "window_members_per_s",
        "record_crc32",
        "command",
        "asked",
        "output",
        "output_files",
    )
    return rows, json.dumps({name: value for name, value in record.items() if name not in changes})


def add_an_n(contig: str) -> None:
    """An allele that brings an N, to the VCF and to the table."""
    head, tail = Path("v.vcf").read_text().split("1\t295\t", 1)
    more = f"1\t292\t.\t{contig[291]}\tN\t.\t.\t.\tGT\t0|1\t1|1\n"
    Path("v.vcf").write_text(f"{head}{more}1\t295\t{tail}")
    with Path("v.tsv").open("a") as stream:
        stream.write(f"1\t292\t{contig[291]}\tN\tN\n")
    pysam.tabix_compress("v.vcf", "v.vcf.gz", force=True)
    pysam.tabix_index("v.vcf.gz", preset="vcf", force=True)


@pytest.mark.long
@pytest.mark.parametrize("ending", [".parquet", ".vcf"])
def test_options_of_run_on_a_genome(
    alleles: Path, everything: Path, contig: str, cli: Cli, telling: None, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:  # fmt: skip
    monkeypatch.chdir(alleles)
    calibration(everything)
    add_an_n(contig)
    count = itertools.count()

    def one(given: dict[str, tuple[Any, ...]]) -> Any:
        out = alleles / f"o{next(count)}{ending}"
        given = {**BY_GENE, "part_rows": (4,), **given}
        source = "v.tsv" if "columns" in given else "v.vcf.gz"
        ran = cli("run", source, "--fasta", "g.fa", "-m", "models", "-o", out, *words(run.command, given))
        return None if refused(ran) else written(out)

    def wanted(a: str, b: str) -> bool:
        # `variants` walks genomes' options in pairs; a shard may lack the very rows that an option changes
        return a in OF_RUN and "shard" not in (a, b)

    mixed = {name: values for name, values in {**OF_RUN, **OF_GENOME}.items() if name != "promoters"}
    idle, accepted = walk(mixed, one, wanted)
    assert idle == [], "\n".join(idle)
    assert accepted > (150 if ending == ".parquet" else 50)
