"""Whether what a lookup is given fits its atlas: the genome, by the digests of its contigs, and the
models."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from legscore.atlas.contents import TILES, Contents
from legscore.atlas.fill import digest_of
from legscore.atlas.options import LookupOptions
from legscore.errors import InputError, ModelError, shorten
from legscore.input.source import READ_ERRORS, first_line
from legscore.model.checkpoint import Checkpoint
from legscore.variants.contigs import read_contig_map, reconcile
from legscore.variants.genome import Genome
from legscore.variants.options import BuildOptions, Setting
from legscore.variants.tiles import COLUMNS, Tiles


class FittingGenome(Genome):
    """A genome whose contigs are those that an atlas was made of: each is compared when it is first read.

    Attributes:
        atlas_name: contig of the FASTA → its name in the atlas.
    """

    def __init__(self, path: str, contents: Contents) -> None:
        """InputError where the FASTA lacks a contig of the atlas, or has it with another length."""
        super().__init__(path)
        self._known: Mapping[str, dict[str, object]] = contents.manifest["genome"]
        self._atlas = contents.folder
        self._checked: set[str] = set()
        lengths = {name: int(known["bases"]) for name, known in contents.manifest["genome"].items()}
        what = f"the atlas {contents.folder}"
        mapped = reconcile(lengths, self.lengths, what, None, lengths, mappable=False)
        self.atlas_name = {target: name for name, target in mapped.of.items()}
        self.fasta_name = dict(mapped.of)

    def contig(self, name: str) -> np.ndarray:
        """As of `Genome`. InputError where it is not what the atlas was made of."""
        letters = super().contig(name)
        if name not in self._checked:
            its_name = self.atlas_name.get(name)
            if its_name is not None and digest_of(letters) != self._known[its_name].get("sha256"):
                raise InputError(
                    f"--fasta {self.path}: contig {name} has other bases than the genome that the atlas "
                    f"{self._atlas} was made of; pass the FASTA of that build"
                )
            self._checked.add(name)
        return letters


def read_tiles(contents: Contents) -> pa.Table:
    """`tiles.parquet` of an atlas."""
    content = contents.read(TILES)
    try:
        return pq.read_table(pa.BufferReader(content))
    except READ_ERRORS as error:
        raise InputError(
            f"{contents.folder / TILES} is not as an atlas has it: {first_line(error)}"
        ) from error


def setting_of(options: LookupOptions, contents: Contents, tiles: pa.Table) -> tuple[Setting, FittingGenome]:
    """The genome and the tiles of an atlas, with contigs as the FASTA names them.

    Raises:
        InputError: the FASTA is not the genome of the atlas.
    """
    genome = FittingGenome(options.fasta, contents)
    frame = pl.DataFrame(pl.from_arrow(tiles.select(COLUMNS)))
    if lacking := sorted(set(frame["chrom"].unique()) - set(genome.fasta_name)):
        raise InputError(
            f"--fasta {options.fasta} lacks contigs of the atlas {contents.folder}: {shorten(lacking)}; pass "
            "the genome that it was made of"
        )
    frame = frame.with_columns(pl.col("chrom").replace_strict(genome.fasta_name, return_dtype=pl.String))
    how = contents.manifest["variants"]
    build = BuildOptions(
        fasta=options.fasta,
        promoters=str(Path(contents.folder) / TILES),
        anchor=how["anchor"],
        indel=how["indel"],
        on_mismatch=options.on_mismatch,
        contig_map=options.contig_map,
        keep_outside=not options.drop_outside,
        region=options.region,
    )
    return Setting(build, genome, Tiles(frame, ()), read_contig_map(options.contig_map)), genome


def check_models(members: list[Checkpoint], contents: Contents) -> None:
    """ModelError unless these are the models of an atlas, in its order."""
    theirs = [str(model["sha256"]) for model in contents.manifest["models"]]
    mine = [member.sha256 for member in members]
    if mine == theirs:
        return
    if sorted(mine) == sorted(theirs):
        raise ModelError(f"the models are those of the atlas {contents.folder}, but in another order")
    shared = len(set(mine) & set(theirs))
    names = shorten([str(model["name"]) for model in contents.manifest["models"]])
    raise ModelError(
        f"the atlas {contents.folder} was scored with {len(theirs)} models ({names}), of which {shared} are "
        f"among these {len(mine)}; give its models with -m"
    )
