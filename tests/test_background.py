"""Ranks against a background: equal to counting by hand, the same in a run and a lookup; what does not fit is
refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from atlas_world import content, dna, score_tables, telling, write_vcf, write_world
from conftest import Ran, one_line

from legscore.run.background import COLUMNS, distances, load_background

pytest.importorskip("polars", reason="genomes need legscore[genome]")
Cli = Callable[..., Ran]
PROMOTERS = ("--promoters", "g.gtf", "--length", "40", "--upstream", "80", "--step", "20")
RUN = ("--fasta", "g.fa", *PROMOTERS, "-m", "m", "-q")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_models: Path) -> Path:
    """A genome with six genes on both strands, and a stand-in engine."""
    telling(monkeypatch)
    monkeypatch.chdir(write_world(tmp_path))
    (tmp_path / "m").symlink_to(toy_models)
    text = 'gene_id "G{0}"; transcript_id "G{0}.t"; gene_biotype "protein_coding";'
    genes = [
        ("I", 210, 290, "+"),
        ("I", 120, 190, "-"),
        ("I", 700, 800, "+"),
        ("II", 150, 290, "+"),
        ("II", 310, 390, "-"),
        ("II", 500, 590, "+"),
    ]
    rows = []
    for i, (c, start, end, strand) in enumerate(genes):
        cds = (start + 20, end) if strand == "+" else (start, end - 20)
        for what, a, b in (("exon", start, end), ("CDS", *cds)):
            rows.append(f"{c}\tt\t{what}\t{a}\t{b}\t.\t{strand}\t0\t{text.format(i)}\n")
    (tmp_path / "g.gtf").write_text("".join(rows))
    return tmp_path


def ranked(cli: Cli, *more: object) -> Path:
    """a, an atlas, and b.parquet, its background."""
    ran = cli("atlas", "build", *RUN, "--indels", "-o", "a", *more)
    assert ran.code == 0, ran.err
    ran = cli("atlas", "background", "a", "-o", "b.parquet")
    assert ran.code == 0, ran.err
    return Path("b.parquet")


def by_hand(
    changes: pa.Table, tiles: pa.Table, effect: float, distance: int | None, gc: float
) -> tuple[float, ...]:
    """Ranks of an effect among the single-base changes of tiles of its class, counted."""
    said = json.loads(pq.read_schema("b.parquet").metadata[b"legscore"])
    cut = lambda value, edges: sum(value >= edge for edge in edges)
    of_tile = {
        row["tile_id"]: (cut(row["distance"], said["distance_edges"]), cut(row["gc"], said["gc_edges"]))
        for row in tiles.to_pylist()
        if not row["edge"]
    }
    mine = (None if distance is None else cut(distance, said["distance_edges"]), cut(gc, said["gc_edges"]))
    among = np.array([
        row["effect"]
        for row in changes.to_pylist()
        if row["effect"] is not None and len(row["ref"]) == len(row["alt"]) == 1
        and (of_tile[row["tile_id"]] == mine or (mine[0] is None and of_tile[row["tile_id"]][1] == mine[1]))
    ], dtype=np.float32)  # fmt: skip
    size = np.abs(among)
    share = np.mean(size >= abs(effect)) or 1 / (len(among) + 1)
    return 100 * np.mean(size < abs(effect)), -10 * np.log10(share), 100 * np.mean(among < effect)


def test_ranks_equal_counting(here: Path, cli: Cli) -> None:
    """Of every change of the atlas and of longer ones; of rows whose distance is known, and of those where not."""
    ranked(cli)
    changes, tiles = score_tables(Path("a")), pq.read_table("a/tiles.parquet")
    place = {row["tile_id"]: row for row in tiles.to_pylist()}
    assert {row["distance"] for row in place.values()} == {0, 20, 40}
    some = [row for row in changes.to_pylist()[::7] if row["status"] == "ok"]
    rows = sorted({(row["chrom"], row["pos"], row["ref"], row["alt"]) for row in some})
    text = dna()["I"]
    write_vcf(here / "v.vcf", [*rows, ("I", 180, text[179:183], "A" if text[179] != "A" else "C")])
    ran = cli("run", "v.vcf", *RUN, "--background", "b.parquet", "-o", "r.parquet")
    assert ran.code == 0, ran.err
    found = pq.read_table("r.parquet")
    assert found.column_names[-6:] == ["effect_sd", *COLUMNS, "status", "n_count"][-6:]
    scored = [row for row in found.to_pylist() if row["status"] == "ok"]
    assert len(scored) > 300
    for row in scored[::9]:
        tile = place[row["tile_id"]]
        wanted = by_hand(changes, tiles, row["effect"], tile["distance"], tile["gc"])
        assert [row[name] for name in COLUMNS] == pytest.approx(wanted, rel=1e-5)
    ran = cli("lookup", "v.vcf", "--fasta", "g.fa", "--atlas", "a", "--background", "b.parquet", "-o", "l.parquet",
              "--score-misses", "-m", "m", "--drop-outside", "-q")  # fmt: skip
    assert ran.code == 0, ran.err
    assert pq.read_table("l.parquet").drop_columns("lookup").equals(found)
    said = json.loads(pq.read_schema("l.parquet").metadata[b"legscore"])["background"]
    assert said == json.loads(pq.read_schema("r.parquet").metadata[b"legscore"])["background"]
    pairs = "ref_sequence,alt_sequence\n"
    ran = cli("variants", "v.vcf", *RUN[:10], "-o", "t.csv", "-q")
    assert ran.code == 0, ran.err
    assert cli("run", "t.csv", "-m", "m", "--background", "b.parquet", "-o", "s.parquet", "-q").code == 0
    unknown = [row for row in pq.read_table("s.parquet").to_pylist() if row["status"] == "ok"]
    assert [row["effect"] for row in unknown] == [row["effect"] for row in scored]
    for row in unknown[::31]:
        wanted = by_hand(changes, tiles, row["effect"], None, place[row["tile_id"]]["gc"])
        assert [row[name] for name in COLUMNS] == pytest.approx(wanted, rel=1e-5)
    assert pairs


def test_a_resumed_run_has_the_same_ranks(here: Path, cli: Cli) -> None:
    """And shards that are joined; edits are ranked as pairs are."""
    ranked(cli)
    table = ("variants", "--saturate", "--fasta", "g.fa", *PROMOTERS, "-q", "-o", "t.parquet")
    assert cli(*table).code == 0
    how = ("t.parquet", "-m", "m", "--background", "b.parquet", "-q", "--part-rows", "100")
    assert cli("run", *how, "-o", "w.parquet").code == 0
    for i in (1, 2):
        assert cli("run", *how, "--shard", f"{i}/2", "-o", f"s{i}.parquet").code == 0
    assert cli("merge", "s1.parquet", "s2.parquet", "-o", "j.parquet").code == 0
    assert Path("j.parquet").read_bytes() == Path("w.parquet").read_bytes()
    whole = pq.read_table("w.parquet")
    size, rank = pc.abs(whole["effect"]).to_numpy(), whole["rank"].to_numpy()
    first = whole["tile_id"].to_pylist()[0]
    one = np.array([name == first for name in whole["tile_id"].to_pylist()])
    order = np.argsort(size[one])
    assert (np.diff(rank[one][order]) >= 0).all()
    percentile = whole["percentile"].drop_null().to_numpy()
    assert abs(percentile.mean() - 50) < 1, "the background ranked against itself is uniform"


def test_distances_by_name() -> None:
    """Of genes with dots and places in their names; of regions there are none."""
    names = ["A.0", "A.2", "YAL1.5C.1", "G@I:12.3", "A.1@NC_1.9:1-81(+)", "A.1@I:1-81(-)#2", "A", None, "A.x"]
    made = {"tiles": "promoters", "step": 40, "downstream": 15}
    found = distances(pa.array(names), made)
    assert found.tolist() == [-15, 65, 25, 105, 25, 25, None, None, None]
    assert distances(pa.array(names), {**made, "tiles": "regions"}).mask.all()
    assert distances(pa.array(names), {}).mask.all()


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--until-se", "0.1"), ("--until-se", "--background")),
        (("--shifts", "0,1"), ("--shifts", "--background")),
        (("-o", "x.vcf"), ("--background", "x.vcf")),
        (("--background", "g.fa"), ("g.fa", "background")),
        (("--background", "gone.parquet"), ("gone.parquet: there is no such file",)),
        (("--background", "a/tiles.parquet"), ("tiles.parquet", "legscore atlas background")),
        (("--background", "edited.parquet"), ("edited.parquet", "damaged or was edited")),
        (("--rc", "none"), ("--rc",)),
        (("-m", "m/member0.safetensors"), ("b.parquet", "other models")),
    ],
)
def test_a_background_that_does_not_fit(
    here: Path, cli: Cli, more: tuple[str, ...], words: tuple[str, ...]
) -> None:
    ranked(cli)
    table = pq.read_table("b.parquet")
    other = table.set_column(2, "effect", pa.array(table["effect"].to_numpy() + np.float32(1)))
    pq.write_table(other, "edited.parquet")
    write_vcf(here / "v.vcf", [("I", 180, dna()["I"][179], "A")])
    how = RUN[:10] if more[0] == "-m" else RUN[:12]
    one_line(cli("run", "v.vcf", *how, "-q", "--background", "b.parquet", "-o", "o.parquet", *more), *words)
    assert not Path("o.parquet").exists()


@pytest.mark.parametrize(
    ("atlas", "other"),
    [("construct", "genome (40 bases)"), ("genome", "construct"), ("genome", "genome (50 bases)")],
)
def test_a_background_of_another_context_is_refused(here: Path, cli: Cli, atlas: str, other: str) -> None:
    """By runs and lookups; windows of genome of another length are another context. Its own goes through."""
    ranked(cli, "--context", atlas)
    write_vcf(here / "v.vcf", [("I", 180, dna()["I"][179], "A" if dna()["I"][179] != "A" else "C")])
    ranks = ("--background", "b.parquet", "-q")
    own = ("--fasta", "g.fa", *PROMOTERS, "-m", "m", "--context")
    assert cli("run", "v.vcf", *own, atlas, *ranks, "-o", "own.csv").code == 0
    length = "50" if "50" in other else "40"
    how = ("--fasta", "g.fa", *PROMOTERS, "--length", length, "-m", "m", "--context", other.split()[0])
    words = ("b.parquet", f"--context {atlas}", f"these have {other}", "build one from an atlas")
    one_line(cli("run", "v.vcf", *how, *ranks, "-o", "o.csv"), *words)
    assert cli("atlas", "build", *how, "-q", "-o", "a2").code == 0
    look = ("lookup", "v.vcf", "--fasta", "g.fa", "-o", "o.csv", *ranks, "--atlas")
    one_line(cli(*look, "a2"), *words)
    assert not Path("o.csv").exists()
    assert cli(*look, "a").code == 0


def test_a_background_of_engine_null_ranks_only_its_like(
    here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, toy_models: Path
) -> None:
    """Zeros are no scores to rank scores among."""
    build = ("atlas", "build", *RUN)
    assert cli(*build, "-o", "real").code == 0
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert cli(*build, "--engine", "null", "-o", "zeros").code == 0
    assert cli("atlas", "background", "zeros", "-o", "b.parquet", "-q").code == 0
    write_vcf(here / "v.vcf", [("I", 180, dna()["I"][179], "A" if dna()["I"][179] != "A" else "C")])
    look = ("lookup", "v.vcf", "--fasta", "g.fa", "--background", "b.parquet", "-q", "-o")
    run = ("run", "v.vcf", *RUN, "--background", "b.parquet", "-o")
    words = ("b.parquet", "--engine null", "which are no scores")
    one_line(cli(*look, "o.csv", "--atlas", "real"), *words)
    one_line(cli(*run, "o.csv"), *words)
    assert not Path("o.csv").exists()
    assert cli(*look, "o.csv", "--atlas", "zeros").code == 0
    assert cli(*run, "r.parquet", "--engine", "null").code == 0
    ranks = [str(value) for value in pq.read_table("r.parquet")["rank"].drop_null().to_pylist()]
    assert set(ranks) == {"0.0"}, "and not -0.0"


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_that_bears_the_name_of_a_rank(here: Path, cli: Cli, name: str) -> None:
    """A lookup, which has no --keep, leaves it out and says so; without ranks it is carried."""
    ranked(cli)
    base = dna()["I"][179]
    (here / "v.csv").write_text(
        f"chrom,pos,ref,alt,{name}\nI,180,{base},{'A' if base != 'A' else 'C'},mine\n"
    )
    look = ("lookup", "v.csv", "--fasta", "g.fa", "--atlas", "a", "-o")
    ran = cli(*look, "o.parquet", "--background", "b.parquet")
    assert ran.code == 0, ran.err
    assert f"not carried over, since legscore has its own of that name: {name}" in ran.err
    assert all(isinstance(value, float) for value in pq.read_table("o.parquet")[name].to_pylist())
    assert cli(*look, "p.parquet").code == 0
    assert set(pq.read_table("p.parquet")[name].to_pylist()) == {"mine"}


def test_a_background_that_does_not_say_its_context(here: Path, cli: Cli) -> None:
    """As an earlier legscore made it: refused with what to do."""
    ranked(cli)
    found, _ = load_background("b.parquet")
    replace(found, settings={name: found.settings[name] for name in ("rc", "singleton")}).save(
        Path("b.parquet")
    )
    write_vcf(here / "v.vcf", [("I", 180, dna()["I"][179], "A")])
    ran = cli("run", "v.vcf", *RUN, "--background", "b.parquet", "-o", "o.csv")
    one_line(ran, "b.parquet", "earlier legscore", "make it again with legscore atlas background")


def test_backgrounds_that_cannot_be_made(here: Path, cli: Cli) -> None:
    """Of no atlas, of one that is damaged, into an output that is taken, or of sequences alone."""
    background = ranked(cli)
    one_line(cli("atlas", "background", "g.fa", "-o", "c.parquet"), "g.fa")
    one_line(cli("atlas", "background", "a", "-o", background), "b.parquet", "--force")
    before = content(Path("a"))
    (here / "link").symlink_to(here / "a")
    for name in ("a/tiles.parquet", "a/b.parquet", "a/scores/b.parquet", "link/b.parquet"):
        one_line(cli("atlas", "background", "a", "-o", name, "--force"), f"{name} lies in the atlas a")
    for name in ("b.csv", "b", "-", "b/", "c.parquet.gz", "s3://bucket/b.parquet"):
        one_line(cli("atlas", "background", "a", "-o", name), f"-o {name}", "one Parquet file on a disk")
    assert content(Path("a")) == before
    assert not Path("b.csv").exists()
    assert cli("atlas", "background", "a", "-o", "b.PQ").code == 0
    (here / "s.csv").write_text("sequence\n" + dna()["I"][:40] + "\n")
    one_line(cli("run", "s.csv", "-m", "m", "--background", "b.parquet", "-o", "o.csv"), "single sequences")
    (here / "p.csv").write_text(f"ref_sequence,alt_sequence,rank\n{dna()['I'][:40]},{dna()['I'][1:41]},1\n")
    one_line(cli("run", "p.csv", "-m", "m", "--background", "b.parquet", "-o", "o.csv"), "'rank'", "--keep")
    path = Path("a/tiles.parquet")
    path.write_bytes(path.read_bytes()[:-3])
    one_line(cli("atlas", "background", "a", "-o", "c.parquet"), "tiles.parquet", "cut short")
