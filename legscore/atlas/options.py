"""What a user can ask of an atlas: building one, and looking variants up in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from legscore.errors import InputError, LegscoreError
from legscore.output.shards import Shard
from legscore.run.finished import asked_of
from legscore.run.named_ensembles import check_unnamed
from legscore.run.options import Options
from legscore.system.publish import is_stream
from legscore.system.storage import is_remote
from legscore.variants.options import BuildOptions

NUMBERS = ("float32", "int16")
TABIX = ("vcf", "tsv")
ONE_ENSEMBLE = "an atlas is of one ensemble, whose models bear no names"
"""Why `-m NAME=PATH` is refused."""


@dataclass(frozen=True)
class AtlasRequest:
    """An atlas as the user asks for it.

    Attributes:
        run: options of the scoring; its output is the atlas, a folder. No inputs.
        build: genome and tiles, and how insertions and deletions keep a tile's length.
        indels: deletions and insertions of one base too.
        numbers: `float32`, or `int16`: whole numbers times a factor (`legscore.atlas.scaled`).
        tabix: also a bgzipped `vcf` or `tsv` of all changes, with its index.
        shard: `3/64`: only the third of 64 slices of the genome's stretches.
        command: what the record says started the build.
    """

    run: Options
    build: BuildOptions
    indels: bool = False
    numbers: str = "float32"
    tabix: str | None = None
    shard: str | None = None
    command: str | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.numbers not in NUMBERS:
            raise LegscoreError(f"numbers is {self.numbers!r}; known are {', '.join(NUMBERS)}")
        if self.tabix not in (None, *TABIX):
            raise LegscoreError(f"tabix is {self.tabix!r}; known are {', '.join(TABIX)}")
        output = self.run.output
        if is_remote(output):
            raise InputError(f"{output}: an atlas is built on a disk; copy the folder to a store afterwards")
        if output and is_stream(output):
            raise InputError(f"-o {output}: an atlas is a folder; name one")
        if self.build.centered:
            raise InputError("--centered makes tiles around variants; an atlas needs --promoters or --tiles")
        for name, default, option in (("anchor", "3", "--anchor"), ("indel", "refill", "--indel")):
            if not self.indels and getattr(self.build, name) != default:
                raise InputError(f"{option} is about insertions and deletions; give --indels too")
        if self.shard is not None:
            Shard.parse(self.shard)
        check_unnamed(self.run.models, ONE_ENSEMBLE)

    @property
    def wanted(self) -> Shard | None:
        """The shard, where not the whole atlas is made."""
        return None if self.shard is None else Shard.parse(self.shard)

    @property
    def files(self) -> list[str]:
        """Every file that is read, beside the models."""
        return self.build.files()

    def asked(self) -> dict[str, Any]:
        """What was asked for, for the record and for a later build of the same name."""
        more = {
            "build": asdict(self.build),
            "indels": self.indels,
            "numbers": self.numbers,
            "tabix": self.tabix,
            "atlas_shard": self.shard,
        }
        return asked_of(self.run, self.files, more)


@dataclass(frozen=True)
class LookupOptions:
    """Options of `legscore lookup`, with the same names and defaults.

    Attributes:
        source: VCF, BCF or table of alleles.
        atlas: folder of the atlas.
        fasta: the genome that the atlas was made of.
        output: table, VCF or standard output.
        score_misses: score alleles in tiles that the atlas does not have, with the engine of its manifest.
        models: the atlas's models, for that; checked whenever they are given.
        engine, precision, device: another engine than the atlas's, with `allow_other_engine`.
        allow_other_engine: take another engine where the atlas's cannot be had.
        drop_outside: leave out alleles that lie in no tile.
        on_mismatch, contig_map, region, columns: as of `legscore variants`.
        background: file of ranks, made by `legscore atlas background`.
        format: of standard output.
        force: replace an output that is there.
        command: what the record says started it.
        shown: input that was kept aside → what the user called it.
    """

    source: str
    atlas: str
    fasta: str
    output: str
    score_misses: bool = False
    models: Sequence[str] = ()
    engine: str = "auto"
    precision: str = "auto"
    device: str | None = None
    allow_other_engine: bool = False
    drop_outside: bool = False
    on_mismatch: str = "status"
    contig_map: Sequence[str] = ()
    region: Sequence[str] = ()
    columns: Mapping[str, str] = field(default_factory=dict)
    background: str | None = None
    format: str | None = None
    force: bool = False
    command: str | Mapping[str, Any] | None = None
    shown: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_unnamed(self.models, ONE_ENSEMBLE)
        if self.score_misses:
            return
        idle = {
            "--engine": self.engine != "auto",
            "--precision": self.precision != "auto",
            "--device": self.device is not None,
            "--allow-other-engine": self.allow_other_engine,
        }
        if name := next((name for name, given in idle.items() if given), None):
            raise LegscoreError(f"{name} is about scoring; without --score-misses nothing is scored")
