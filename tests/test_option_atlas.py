"""Every option of `atlas build` and `lookup` changes what is written or what is recorded of it: else it is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pysam
import pytest
from atlas_world import dna, score_tables, telling, write_vcf, write_world
from conftest import Ran
from test_option_pairs import metadata_of, names_of, refused, rows_of, walk, words

from legscore.cli import atlas, lookup

pytest.importorskip("polars", reason="genomes need legscore[genome]")
Given = dict[str, tuple[Any, ...]]
BUILD = atlas.command.commands["build"]  # type: ignore[attr-defined]
OPTIONS: Given = {
    "promoters": ("g.gtf",), "regions_bed": ("two.bed",), "length": (30,), "upstream": (60,), "downstream": (25,),
    "step": (7,), "biotypes": ("all",), "transcripts": ("mane",), "tss": ("tss.tsv",), "assume_utr": (5,),
    "contig_map": ("odd=I",), "anchor": ("5",), "indel": ("construct",), "context": ("genome",), "indels": (),
    "numbers": ("int16",), "tabix": ("vcf",), "rc": ("none",), "singleton": (1,), "engine": ("torch",),
    "precision": ("fp32",), "device": ("1",), "part_rows": (7,), "shard": ("1/2",),
}  # fmt: skip
RECORDED = {"numbers", "tabix", "engine", "precision", "device", "part_rows"}
WITHOUT_EFFECT = {
    "fasta", "output", "models", "force", "restart", "dry_run", "log_json", "quiet", "verbose", "threads", "memory",
    "verify", "null_rate", "ray", "workers", "num_cpus", "num_gpus",
}  # fmt: skip
"""What is read, where it goes, what is told, how and where it is computed."""
LOOKUP: Given = {
    "region": ("I:1-160", "odd:1-400"), "columns": ("alt=other",), "contig_map": ("odd=I",), "on_mismatch": ("use-fasta",),
    "score_misses": (), "models": ("m/member0.safetensors",), "engine": ("torch",), "precision": ("fp32",),
    "device": ("1",), "allow_other_engine": (), "drop_outside": (), "background": ("b.parquet",),
}  # fmt: skip
LOOKUP_WITHOUT = {"source", "atlas", "fasta", "output", "format_", "force", "quiet", "verbose", "threads"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_models: Path) -> Path:
    telling(monkeypatch)
    monkeypatch.chdir(write_world(tmp_path))
    (tmp_path / "m").symlink_to(toy_models)
    (tmp_path / "t.bed").write_text("I\t100\t130\ta\t0\t+\nodd\t420\t450\tb\t0\t-\n")
    (tmp_path / "two.bed").write_text("I\t300\t330\ta\t0\t+\n")
    (tmp_path / "tss.tsv").write_text("gene\ttss\nA\t303\n")
    text = 'gene_id "A"; transcript_id "A.t"; gene_biotype "{}";'
    rows = [("I", 301, 500, "protein_coding"), ("I", 601, 700, "rRNA"), ("odd", 381, 500, "protein_coding")]
    (tmp_path / "g.gtf").write_text(
        "".join(
            f"{c}\tt\t{what}\t{start + 30 * (what == 'CDS')}\t{end}\t.\t+\t0\t{text.format(kind).replace('A', f'A{i}')}\n"
            for i, (c, start, end, kind) in enumerate(rows)
            for what in ("exon", "CDS")
        ).replace("A0", "A")
    )
    return tmp_path


def test_every_option_is_walked() -> None:
    assert set(names_of(BUILD)) - set(OPTIONS) == WITHOUT_EFFECT
    assert set(names_of(lookup.command)) - set(LOOKUP) == LOOKUP_WITHOUT


@pytest.mark.parametrize(
    ("base", "least"),
    [
        ({"regions_bed": ("t.bed",)}, 10),
        (
            {"promoters": ("g.gtf",), "length": (20,), "upstream": (40,), "step": (20,)},
            10,
        ),
        ({"regions_bed": ("t.bed",), "indels": ()}, 3),
    ],
)
def test_options_of_build(here: Path, cli: Callable[..., Ran], base: Given, least: int) -> None:
    count, accepted = itertools.count(), 0

    def one(given: Given) -> Any:
        nonlocal accepted
        out = here / f"a{next(count)}"
        ran = cli(
            "atlas", "build", "--fasta", "g.fa", "-m", "m", "-q", "-o", out, *words(BUILD, {**base, **given})
        )
        if refused(ran):
            return None
        accepted += 1
        manifest = json.loads((out / "manifest.json").read_text())
        rows = score_tables(out).to_pylist() if manifest["rows"] else []
        manifest |= {"record_crc32": 0, "bytes": 0, "bytes_per_million_rows": 0}
        manifest["files"] = sorted(manifest["files"])
        return repr(rows), json.dumps(manifest, sort_keys=True)

    fixed = set(base) - {"length", "upstream", "step"}
    options = {name: values for name, values in OPTIONS.items() if name not in fixed}
    if "indels" in base:  # what is about them
        options = {name: OPTIONS[name] for name in ("anchor", "indel")}
    idle, _ = walk(options, one, lambda a, b: False, RECORDED)
    assert idle == [], "\n".join(idle)
    assert accepted > least


@pytest.mark.parametrize("source", ["v.vcf.gz", "v.csv"])
def test_options_of_lookup(here: Path, cli: Callable[..., Ran], source: str) -> None:
    ran = cli("atlas", "build", "--fasta", "g.fa", "-m", "m", "-q", "-o", "a", "--tiles", "t.bed")
    assert ran.code == 0, ran.err
    assert cli("atlas", "background", "a", "-o", "b.parquet").code == 0
    text, other = dna()["I"], {"A": "C", "C": "A", "G": "T", "T": "G"}
    places = [("I", p) for p in (105, 120, 128)] + [("odd", p) for p in (125, 126)] + [("I", 600)]
    rows = [(c, p, text[p - 1], other[text[p - 1]]) for c, p in places]
    rows += [
        ("I", 110, text[109:112], text[109]),
        ("I", 127, other[text[126]], "N"),
        ("I", 129, other[text[128]], text[128]),
    ]
    write_vcf(here / "v.vcf", sorted(rows), "##contig=<ID=I>\n##contig=<ID=odd>\n")
    pysam.tabix_compress("v.vcf", "v.vcf.gz", force=True)
    pysam.tabix_index("v.vcf.gz", preset="vcf", force=True)
    lines = [f"{c},{p},{r},{a},{other.get(r, 'A') if other.get(r) != a else 'GG'}\n" for c, p, r, a in rows]
    (here / "v.csv").write_text("chrom,pos,ref,alt,other\n" + "".join(lines))
    count = itertools.count()

    def one(given: Given) -> Any:
        out = here / f"o{next(count)}.parquet"
        if set(given) & {"engine", "precision", "device", "allow_other_engine"}:
            given = {"score_misses": (), "models": ("m",), "allow_other_engine": (), **given}
        if given == {"score_misses": ()}:
            given = {**given, "models": ("m",)}
        ran = cli(
            "lookup",
            source,
            "--fasta",
            "g.fa",
            "--atlas",
            "a",
            "-q",
            "-o",
            out,
            *words(lookup.command, given),
        )
        return None if refused(ran) else (rows_of(out), metadata_of(out))

    idle, _ = walk(LOOKUP, one, lambda a, b: False, {"engine", "precision", "device"})
    assert idle == [], "\n".join(idle)
