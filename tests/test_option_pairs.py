"""Every option that is accepted has an effect, also beside every other one: else it is refused.

Each option of `run` and `variants` is tried alone and with each of the others, on inputs that all of them
could change. Scores come from a stand-in engine that tells windows and members apart.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pysam
import pytest
from conftest import Ran, opened_by, random_dna, toy_checkpoint, yeast_contract

from legscore.cli import run, variants
from legscore.dna.batch import Batch
from legscore.engine.null_engine import NullEngine
from legscore.model.checkpoint import load_members
from legscore.run.calibration import Calibration

Cli = Callable[..., Ran]
N_MODELS = 7


class Telling(NullEngine):
    """Scores that tell windows, members, strands and the singleton channel apart, without a network."""

    def __init__(self, members: Any, request: Any) -> None:
        super().__init__(members)
        self._request = request

    def _score(self, batch: Batch, members: list[int], both: bool, tell: Any) -> np.ndarray:
        codes_WL = batch.expand().astype(np.float32)
        own = 0.1 * self._request.is_singleton + 0.01 * self._request.both_strands
        return np.stack(
            [
                codes_WL @ np.sin(np.arange(codes_WL.shape[1], dtype=np.float32) + m) / 40 + own
                for m in members
            ]
        )

    def describe(self) -> dict[str, Any]:
        request = self._request
        asked = {"engine": request.engine, "precision": request.precision, "recipe": request.recipe}
        return {**super().describe(), **asked, "device": request.device}


@pytest.fixture
def telling(monkeypatch: pytest.MonkeyPatch) -> None:
    opened_by(monkeypatch, lambda members, request, say: Telling(members, request))


@pytest.fixture
def everything(tmp_path: Path) -> Path:
    """Rows that are pairs, edits and sequences; inserts and oligos, two with an N; folds; and seven models."""
    rng, n = np.random.default_rng(4), 24
    texts = [random_dna(rng, 80) for _ in range(n)]
    for row in (4, 6):
        texts[row] = texts[row][:5] + "N" + texts[row][6:]
    contract = yeast_contract()
    for row in range(0, n, 3):  # an insert as well as an oligo
        texts[row] = contract.adapter5 + texts[row][:60] + contract.adapter3
    changed = [t[:45] + ("A" if t[45] != "A" else "C") + t[46:] for t in texts]
    columns = {
        "id": np.arange(n), "fold": np.arange(n) % 3, "dna": texts[::-1], "sequence": texts, "offset": [40] * n,
        "alt_base": ["A" if t[40] != "A" else "C" for t in texts], "ref_sequence": texts, "alt_sequence": changed,
    }  # fmt: skip
    pq.write_table(pa.table(columns), tmp_path / "t.parquet")
    (tmp_path / "models").mkdir()
    rule = {"by": "column", "column": "fold", "sequence_is": "insert"}
    for m in range(N_MODELS):
        training = {"folds": rule, "folds_held_out": [m % 3], "recipe": {"keep": "last"}, "seed": m}
        replace(toy_checkpoint(m), training=training).save(tmp_path / "models" / f"m{m}.safetensors")
    return tmp_path


def calibration(world: Path) -> Path:
    models = tuple(member.sha256 for member in load_members([world / "models"]))
    settings = {"rc": "construct", "singleton": 0}
    Calibration(models, settings, 1.0, 2.0, 0.1, True, 0.9).save(world / "c.json")
    return world / "c.json"


def background(world: Path) -> None:
    from legscore.run.background import Background

    models = tuple(member.sha256 for member in load_members([world / "models"]))
    effects = np.linspace(-3, 3, 501, dtype=np.float32)
    Background(models, {"rc": "construct", "singleton": 0}, (), (), {(-1, 0): effects}).save(
        world / "b.parquet"
    )


WITHOUT_EFFECT = {
    "quiet": "what is told on a terminal", "verbose": "what is told there, too",
    "threads": "how many compute", "multiqc": "a file of its own",
    "log_json": "a file of its own",
    "memory": "how much memory parts may take",
    "restart": "only after an interrupted run",
    "force": "only where an output is there already",
    "verify": "only whether scores are compared",
    "dry_run": "writes nothing",
    "null_rate": "how fast engine null is",
    "allow_duplicates": "only whether models may stand twice",
    "force_student": "only whether a student of other models is taken",
    "ray": "where parts are scored", "workers": "how many", "num_cpus": "of how many", "num_gpus": "and with what",
    "inputs": "what is scored", "output": "where to", "models": "by what", "file_rows": "of folders alone",
    "format_": "of standard output alone",
}  # fmt: skip
"""Options that are not about the rows of an output, each with what it is about."""
ENGINE = {"engine": ("torch",), "precision": ("fp32",), "recipe": ("fp32",), "device": ("1",)}
"""What the stand-in takes instead of an engine's own checks (tests/test_engine.py, tests/test_doctor.py)."""
TABLE = {
    "kind": ("edit",), "columns": ("sequence=dna",), "sequence_is": ("oligo",), "rc": ("insert",), "singleton": (1,),
    "max_n": (0,), "keep": ("fold",), "per_model": (), "out_of_fold": ("fold",), "until_se": (0.3,), "shifts": ("0,2",),
    "shuffle_null": (3,), "shard": ("1/2",), "calibration": ("c.json",), "background": ("b.parquet",), "part_rows": (7,), **ENGINE,
}  # fmt: skip
STUDENT = {"student": ("t.safetensors",), "rescore": ("top:3",), "rescore_sample": (9,)}
"""Walked in test_option_pairs_student: beside nothing else they are refused."""
ONLY_RECORDED = {*ENGINE, "part_rows", "context", "rescore_sample"}
"""They say what computes, or how rows are to be read: their effect is in the metadata."""
GENOME = {
    "promoters": ("g.gtf",), "regions_bed": ("t.bed",), "centered": (), "orientation": ("-",), "length": (30,),
    "upstream": (60,), "downstream": (25,), "step": (7,), "biotypes": ("all",), "transcripts": ("mane",), "tss": ("tss.tsv",),
    "assume_utr": (5,), "contig_map": ("odd=1",), "on_mismatch": ("use-fasta",), "anchor": ("5",),
    "indel": ("construct",), "context": ("genome",), "keep_outside": (), "region": ("1:288-1000", "odd:1-500", "none:1-9"),
    "haplotypes": (), "samples": ("s2",), "saturate": (), "saturate_indels": (), "columns": ("alt=other",),
}  # fmt: skip


def names_of(command: Any) -> dict[str, str]:
    """Parameter → the option as it is written."""
    return {str(p.name): p.opts[0] for p in command.params}


def words(command: Any, given: dict[str, tuple[Any, ...]]) -> list[Any]:
    written = names_of(command)
    return [word for name, values in given.items() for word in _words(written[name], values)]


def _words(option: str, values: tuple[Any, ...]) -> Iterator[Any]:
    if not values:
        yield option
    for value in values:
        yield from (option, value)


def refused(ran: Ran) -> bool:
    """Whether a command was refused, in one line."""
    if ran.code == 0:
        return False
    assert ran.code == 2, ran.err
    assert "Traceback" not in ran.err
    assert ran.err.strip().splitlines()[-1].startswith(("legscore: ", "Error: "))
    return True


def rows_of(path: Path) -> Any:
    table = pq.read_table(path)
    return table.column_names, repr(table.to_pydict())


def metadata_of(path: Path) -> str:
    return json.dumps(json.loads(pq.read_schema(path).metadata[b"legscore"]), sort_keys=True)


def walk(
    options: dict[str, tuple[Any, ...]],
    one: Callable[[dict[str, tuple[Any, ...]]], Any],
    wanted: Callable[[str, str], bool] = lambda a, b: True,
    recorded: Collection[str] = tuple(ONLY_RECORDED),
) -> tuple[list[str], int]:
    """Options that were accepted and changed nothing, alone or beside another; and how many pairs were
    accepted.

    Args:
        one: gives what a command wrote, as (rows, metadata); None where it was refused.
        wanted: which pairs are walked.
        recorded: options whose effect is in the metadata.
    """

    def same(found: Any, without: Any, name: str) -> bool:
        at = 1 if name in recorded else 0
        return found is not None and without is not None and found[at] == without[at]

    plain, idle, accepted = one({}), [], 0
    assert plain is not None
    assert plain == one({}), "what changes by itself hides options that change nothing"
    alone = {name: one({name: values}) for name, values in options.items()}
    idle += [name for name, found in alone.items() if same(found, plain, name)]
    for a, b in itertools.combinations(options, 2):
        if not wanted(a, b):
            continue
        both = one({a: options[a], b: options[b]})
        accepted += both is not None
        idle += [
            f"{name} beside {other}" for name, other in ((a, b), (b, a)) if same(both, alone[other], name)
        ]
    return idle, accepted


def test_every_option_is_walked() -> None:
    for command, tried in ((run.command, {*TABLE, *GENOME, *STUDENT}), (variants.command, {*GENOME})):
        known = set(names_of(command)) - {"source", "fasta"}
        assert known - tried - set(WITHOUT_EFFECT) == set(), "an option that no walk tries"


def test_options_of_run_in_pairs(
    everything: Path, cli: Cli, telling: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(everything)
    calibration(everything)
    background(everything)
    count = itertools.count()

    def one(given: dict[str, tuple[Any, ...]]) -> Any:
        out = everything / f"o{next(count)}.parquet"
        given = {"kind": ("edit",), "sequence_is": ("insert",), "part_rows": (8,), **given}
        ran = cli("run", "t.parquet", "-m", "models", "-o", out, *words(run.command, given))
        return None if refused(ran) else (rows_of(out), metadata_of(out))

    idle, accepted = walk({**TABLE, "kind": ("pair",)}, one)
    assert idle == [], "\n".join(idle)
    assert accepted > 90


@pytest.fixture
def alleles(world: Path, contig: str) -> Path:
    """A bgzipped VCF of two samples: changes, an insertion, a wrong REF, an allele outside, an odd contig."""
    other = {"A": "C", "C": "A", "G": "T", "T": "G"}
    base = dict(enumerate(contig, 1))
    records = [("1", p, base[p], other[base[p]]) for p in (285, 290)]
    records += [("1", 295, base[295], base[295] + "GATTACA"), ("1", 312, other[base[312]], base[312])]
    records += [("1", p, base[p], other[base[p]]) for p in (650, 885, 1100)]
    records += [("none", 5, "A", "C"), ("odd", 288, base[288], other[base[288]])]
    text = "##fileformat=VCFv4.2\n" + "".join(f"##contig=<ID={name}>\n" for name in ("1", "none", "odd"))
    text += '##FORMAT=<ID=GT,Number=1,Type=String,Description="Genotype">\n'
    text += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts1\ts2\n"
    for at, (chrom, pos, ref, alt) in enumerate(records):
        text += f"{chrom}\t{pos}\t.\t{ref}\t{alt}\t.\t.\t.\tGT\t0|1\t{'1|1' if at else '0|0'}\n"
    (world / "v.vcf").write_text(text)
    pysam.tabix_compress(str(world / "v.vcf"), str(world / "v.vcf.gz"), force=True)
    pysam.tabix_index(str(world / "v.vcf.gz"), preset="vcf", force=True)
    (world / "t.bed").write_text("1\t270\t300\tone\t0\t+\n1\t280\t320\ttwo\t0\t-\n")
    (world / "tss.tsv").write_text("gene\ttss\nA\t303\nB\t275\nR\t898\nD\t498\n")
    rows = [(c, p, r, a, a if len(a) > 1 else other[a]) for c, p, r, a in records]
    lines = "".join("\t".join(map(str, row)) + "\n" for row in rows)
    (world / "v.tsv").write_text("chrom\tpos\tref\talt\tother\n" + lines)
    gene = 'gene_id "D"; transcript_id "D.t"; gene_biotype "protein_coding";'
    with (world / "g.gtf").open("a") as stream:
        stream.writelines(
            f"odd\tt\t{what}\t{at}\t600\t.\t+\t0\t{gene}\n" for what, at in (("exon", 500), ("CDS", 510))
        )
    return world


BY_GENE = {"promoters": ("g.gtf",), "length": (20,), "upstream": (40,), "step": (10,)}


@pytest.mark.parametrize(
    ("base", "source", "least"),
    [
        (BY_GENE, "v.vcf.gz", 60),
        pytest.param(BY_GENE, "v.tsv", 60, marks=pytest.mark.long),
        (BY_GENE, None, 20),
        ({"centered": (), "length": (20,)}, "v.vcf.gz", 20),
        ({"regions_bed": ("t.bed",)}, "v.vcf.gz", 15),
        pytest.param({**BY_GENE, "haplotypes": ()}, "v.vcf.gz", 40, marks=pytest.mark.long),
        ({**BY_GENE, "saturate": ()}, None, 20),
    ],
)
def test_options_of_variants_in_pairs(
    alleles: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    base: dict[str, tuple[Any, ...]],
    source: str | None,
    least: int,
) -> None:
    monkeypatch.chdir(alleles)
    count = itertools.count()

    def one(given: dict[str, tuple[Any, ...]]) -> Any:
        out = alleles / f"o{next(count)}.parquet"
        given = {**base, **given}
        ran = cli(
            *("variants", *([source] if source else []), "--fasta", "g.fa", "-o", out),
            *words(variants.command, given),
        )
        return None if refused(ran) else (rows_of(out), metadata_of(out))

    fixed = set(base) - {"length", "upstream", "step"}
    idle, accepted = walk({name: values for name, values in GENOME.items() if name not in fixed}, one)
    assert idle == [], "\n".join(idle)
    assert accepted > least
