"""What a set of variants is made of, checked: genome, tiles, and how alleles become sequences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any

from legscore.errors import LegscoreError
from legscore.system.log import Say
from legscore.variants.alleles import ON_MISMATCH
from legscore.variants.annotation import MARKS
from legscore.variants.contigs import read_contig_map
from legscore.variants.genome import Genome
from legscore.variants.promoters import PromoterOptions, promoter_tiles
from legscore.variants.tiles import Tiles, region_tiles
from legscore.variants.windows import ANCHORS, INDELS

CONTEXTS = ("construct", "genome")
ORIENTATIONS = ("+", "-", "gene")
TRANSCRIPTS = ("all", *MARKS)
TILE_LENGTH, UPSTREAM = 80, 160
"""Bases of a tile, and from a start to the far end of its tiles, where neither the user nor a model says."""
MOST_BASES = 10_000_000
"""Of a tile, and of how far tiles reach from a start."""


@dataclass(frozen=True)
class BuildOptions:
    """Options of `legscore variants`, with the same names and defaults.

    Attributes:
        fasta: genome, plain or bgzipped, with its .fai.
        promoters: GTF or GFF3 whose transcription starts get tiles.
        regions_bed: BED of tiles, instead. centered: a tile around each allele, instead.
        orientation: strand of centered tiles: `+`, `-`, or `gene` for that of the nearest tile's gene.
        length: bases of a tile; what the model reads, or TILE_LENGTH, when None.
        upstream, downstream, step: reach of a gene's tiles from its start, and from one tile to the next, in
            bases; `upstream` is UPSTREAM when None, or two tiles where those do not hold one.
        biotypes: of the genes; `("all",)` for every one.
        transcripts: of each gene: `all`, or those its annotation tags as `canonical` or MANE Select (`mane`).
        tss: table of transcription starts, columns gene and tss (1-based).
        assume_utr: instead, the start is so many bases upstream of the ATG.
        contig_map: `NAME=FASTA_NAME` or files of them.
        on_mismatch: `status`, `fail` or `use-fasta`, when REF is not the genome's.
        anchor: end of the tile that stays when an allele changes its length: `3`, `5` or `center`.
        indel: `refill` from the genome, or `construct`: the insert changes its length.
        keep_outside: also write alleles that lie in no tile, with status no_window.
        context: tiles are inserts of the `construct`, or fill the model's whole window (`genome`).
        region: only records in these regions of an indexed VCF.

    Raises:
        LegscoreError: a value is not known, or two do not go together.
    """

    fasta: str
    promoters: str | None = None
    regions_bed: str | None = None
    centered: bool = False
    orientation: str = "+"
    length: int | None = None
    upstream: int | None = None
    downstream: int = 0
    step: int = 40
    biotypes: Sequence[str] = ("protein_coding",)
    transcripts: str = "all"
    tss: str | None = None
    assume_utr: int | None = None
    contig_map: Sequence[str] = ()
    on_mismatch: str = "status"
    anchor: str = "3"
    indel: str = "refill"
    keep_outside: bool = False
    context: str = "construct"
    region: Sequence[str] = field(default=())

    def __post_init__(self) -> None:
        for name, known in (
            ("on_mismatch", ON_MISMATCH),
            ("anchor", ANCHORS),
            ("indel", INDELS),
            ("orientation", ORIENTATIONS),
            ("context", CONTEXTS),
            ("transcripts", TRANSCRIPTS),
        ):
            if getattr(self, name) not in known:
                raise LegscoreError(f"{name} is {getattr(self, name)!r}; known are {', '.join(known)}")
        for name, least in (("length", 1), ("step", 1), ("upstream", 0), ("downstream", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise LegscoreError(f"{name} is {value}; it must be {least} or more")
        for name in ("length", "step", "upstream", "downstream", "assume_utr"):
            if (getattr(self, name) or 0) > MOST_BASES:
                raise LegscoreError(
                    f"{name} is {getattr(self, name)}; it must be {MOST_BASES:,} bases or less"
                )
        if "all" in self.biotypes and len(self.biotypes) > 1:
            raise LegscoreError("--biotype all stands alone")
        if self.assume_utr is not None and self.assume_utr < 0:
            raise LegscoreError(f"assume_utr is {self.assume_utr}; it must be 0 or more")
        if self.tss is not None and self.assume_utr is not None:
            raise LegscoreError("--tss and --assume-utr both say where transcription starts; give one")
        if self.promoters is None and (self.tss is not None or self.assume_utr is not None):
            raise LegscoreError("--tss and --assume-utr need --promoters")
        if self.transcripts != "all" and self.tss is not None:
            raise LegscoreError("--transcripts chooses among the annotation's starts; --tss gives others")
        if self.promoters is not None and self.regions_bed is not None:
            raise LegscoreError("--promoters and --tiles both say which tiles to make; give one")
        by_gene = self.centered and self.orientation == "gene"
        if by_gene and self.promoters is None:
            raise LegscoreError("--orientation gene needs --promoters, which says where the genes are")
        if self.centered and (self.regions_bed is not None or (self.promoters is not None and not by_gene)):
            raise LegscoreError(
                "--centered makes a tile around each variant; --promoters and --tiles do not go with it"
            )
        if self.context == "genome" and (self.regions_bed is not None or self.indel == "construct"):
            raise LegscoreError(
                "--context genome fills windows of one --length; --tiles and --indel construct do not go "
                "with it"
            )
        if not self.centered and self.promoters is None and self.regions_bed is None:
            raise LegscoreError("say which tiles to make: --promoters GTF, --tiles BED, or --centered")
        self._check_idle()

    def _check_idle(self) -> None:
        """LegscoreError for options that would have no effect on these tiles."""
        known = [f for f in fields(self) if f.default is not MISSING]
        unlike = {f.name for f in known if getattr(self, f.name) != f.default}
        by_gene = unlike & {"upstream", "downstream", "step", "biotypes", "transcripts"}
        if self.promoters is None and by_gene:
            name = min(by_gene).replace("biotypes", "biotype")
            raise LegscoreError(f"--{name} is about the tiles of genes; it needs --promoters")
        if self.regions_bed is not None and self.length is not None:
            raise LegscoreError("--length: regions of a BED file have lengths of their own; leave it out")
        if "orientation" in unlike and not self.centered:
            raise LegscoreError("--orientation is the strand of centered tiles; it needs --centered")
        if "anchor" in unlike and self.indel == "construct":
            raise LegscoreError(
                "--anchor says which end of a tile stays while the genome refills the other, and --indel "
                "construct refills nothing: give one"
            )

    @property
    def tile_length(self) -> int:
        """Bases of a tile."""
        return TILE_LENGTH if self.length is None else self.length

    @property
    def reach_upstream(self) -> int:
        """Bases upstream of a start that its tiles reach."""
        if self.upstream is not None:
            return self.upstream
        return UPSTREAM if UPSTREAM + self.downstream >= self.tile_length else 2 * self.tile_length

    @property
    def wanted_biotypes(self) -> tuple[str, ...]:
        """Biotypes of the genes; empty for all."""
        return () if "all" in self.biotypes else tuple(self.biotypes)

    def of_promoters(self) -> PromoterOptions:
        """Which promoters get tiles."""
        return PromoterOptions(
            self.wanted_biotypes,
            self.transcripts,
            self.tss,
            self.assume_utr,
            self.tile_length,
            self.reach_upstream,
            self.downstream,
            self.step,
        )

    def files(self) -> list[str]:
        """What is read, as it was named; some may be names of contigs instead (`--contig-map`)."""
        named = (self.fasta, self.promoters, self.regions_bed, self.tss, *self.contig_map)
        return [path for path in named if path is not None]

    def described(self) -> dict[str, Any]:
        """What defines the rows, without paths: for the output's metadata."""
        names = (
            "centered",
            "orientation",
            "length",
            "upstream",
            "downstream",
            "step",
            "transcripts",
            "assume_utr",
            "on_mismatch",
            "anchor",
            "indel",
            "context",
        )
        tiles = "centered" if self.centered else "promoters" if self.promoters else "regions"
        return {
            "tiles": tiles,
            "biotypes": list(self.wanted_biotypes),
            **{name: getattr(self, name) for name in names},
            "length": self.tile_length,
            "upstream": self.reach_upstream,
        }


@dataclass(frozen=True)
class Setting:
    """A genome and the tiles on it (none when centered on each variant without genes)."""

    options: BuildOptions
    genome: Genome
    tiles: Tiles | None
    given: Mapping[str, str]


def prepare(options: BuildOptions, say: Say) -> Setting:
    """Open the genome and make the tiles; what was decided on the way is said.

    Raises:
        InputError: the genome, the annotation, the regions or the contig map cannot be read, or do not go
            together.
    """
    genome = Genome(options.fasta)
    given = read_contig_map(options.contig_map)
    tiles = None
    if options.promoters is not None:
        tiles = promoter_tiles(options.promoters, genome, options.of_promoters(), given)
    elif options.regions_bed is not None:
        tiles = region_tiles(options.regions_bed, genome, given)
    for line in tiles.said if tiles else ():
        say(line)
    return Setting(options, genome, tiles, given)
