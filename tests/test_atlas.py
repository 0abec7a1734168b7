"""Atlases: the changes of tiles, once each and sorted; interrupted builds, shards, 16-bit numbers, indexed text."""

from __future__ import annotations

import gzip
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from atlas_world import Steady, content, score_tables, small_stretches, telling, write_vcf, write_world
from conftest import Ran, one_line, opened_by

from legscore.dna.batch import Batch
from legscore.engine.base import ThreadedEngine

pytest.importorskip("polars", reason="genomes need legscore[genome]")
Cli = Callable[..., Ran]
COLUMNS = ["alt_score", "effect", "effect_sd"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_models: Path) -> Path:
    """A genome with tiles, stretches of 150 bases, and a stand-in engine."""
    telling(monkeypatch)
    small_stretches(monkeypatch)
    monkeypatch.chdir(write_world(tmp_path))
    (tmp_path / "m").symlink_to(toy_models)
    return tmp_path


BUILD = ("atlas", "build", "--fasta", "g.fa", "--tiles", "t.bed", "-m", "m", "-q")


def built(cli: Cli, name: str, *more: object) -> Path:
    ran = cli(*BUILD, "-o", name, *more)
    assert ran.code == 0, ran.err
    return Path(name)


def test_an_atlas_holds_the_scores_of_a_run(here: Path, cli: Cli) -> None:
    """Every change of every tile once, sorted by contig, position, REF, ALT and tile; files by stretch."""
    atlas = built(cli, "a", "--indels")
    assert (
        cli(
            "variants",
            "--saturate",
            "--saturate-indels",
            "--fasta",
            "g.fa",
            "--tiles",
            "t.bed",
            "-o",
            "s.parquet",
        ).code
        == 0
    )
    assert cli("run", "s.parquet", "-m", "m", "-o", "r.parquet", "-q").code == 0
    names = ["chrom", "pos", "ref", "alt", "tile_id", "strand", *COLUMNS, "status", "n_count"]
    wanted = pq.read_table("r.parquet").select([*names, "ref_score"]).to_pylist()
    wanted = sorted(
        (row for row in wanted if row["pos"] is not None), key=lambda row: tuple(row.values())[:5]
    )
    found = score_tables(atlas)
    tiles = {row["tile_id"]: row for row in pq.read_table(atlas / "tiles.parquet").to_pylist()}
    assert [{name: row[name] for name in names} for row in wanted] == found.select(names).to_pylist()
    assert {row["status"] for row in wanted} >= {"ok", "ref_equals_alt", "edge"}
    assert all(
        tiles[row["tile_id"]]["ref_score"] == row["ref_score"] for row in wanted if row["status"] == "ok"
    )
    assert tiles["edge"]["edge"]
    assert tiles["edge"]["ref_score"] is None
    manifest = json.loads((atlas / "manifest.json").read_text())
    assert manifest["rows"] == found.num_rows
    for name, known in manifest["files"].items():
        if "rows" in known:
            pos = pq.read_table(atlas / name)["pos"].to_numpy()
            assert len(set((pos - 1) // 150)) == 1, name
            assert (known["first"], known["last"], known["rows"]) == (pos[0], pos[-1], len(pos))
    for tile in tiles.values():
        text = pq.read_table("s.parquet").filter(pa.compute.field("tile_id") == tile["tile_id"])["sequence"]
        if tile["gc"] is not None:
            one = text[0].as_py()
            strong = one.count("G") + one.count("C")
            assert tile["gc"] == strong / (strong + one.count("A") + one.count("T"))


def test_an_atlas_is_of_one_ensemble(here: Path, cli: Cli) -> None:
    """Names of ensembles, of which a run takes several, are refused as what they are."""
    words = ("-m a=m: an atlas is of one ensemble", "give -m m alone")
    build, ensembles = [*BUILD[:6], "-q", "-o", "x"], ("-m", "a=m", "-m", "b=m")
    one_line(cli(*build, *ensembles), *words)
    one_line(cli(*build, "-m", "m", *ensembles[:2], "--dry-run"), *words)
    one_line(cli(*build, "-m", "a=gone"), "an atlas is of one ensemble")
    built(cli, "whole")
    write_vcf(here / "v.vcf", [("I", 150, "A", "C")])
    look = ("lookup", "v.vcf", "--fasta", "g.fa", "--atlas", "whole", "-o", "o.csv")
    one_line(cli(*look, *ensembles), *words)
    one_line(cli(*look, "--score-misses", *ensembles), *words)
    shutil.copytree("m", "a=m")  # a path as it stands is one
    assert cli(*build[:-1], "y", "-m", "a=m").code == 0


@pytest.mark.parametrize("more", [(), ("--indels",), ("--tabix", "vcf"), ("--numbers", "int16")])
def test_tiles_that_lie_in_n(here: Path, cli: Cli, more: tuple[str, ...]) -> None:
    """All of one contig, and all there are: what can be changed is there, in one build and in shards."""
    letters = (here / "g.fa").read_text().split("\n")
    letters[1] = "N" * len(letters[1])
    (here / "n.fa").write_text("\n".join(letters))
    (here / "n.bed").write_text("I\t100\t180\ta\t0\t+\nII\t300\t380\td\t0\t+\n")
    (here / "all.bed").write_text("I\t100\t180\ta\t0\t+\nI\t200\t280\tb\t0\t-\n")
    build = ("atlas", "build", "--fasta", "n.fa", "-m", "m", "-q", *more, "--tiles")
    for bed in ("n", "all"):
        table = ("variants", "--saturate", *more[:1], "--fasta", "n.fa", "--tiles", f"{bed}.bed", "-o")
        ran = cli(*build, f"{bed}.bed", "-o", bed)
        assert ran.code == 0, ran.err
        for i in (1, 2):
            assert cli(*build, f"{bed}.bed", "-o", f"{bed}{i}", "--shard", f"{i}/2").code == 0
        ran = cli("atlas", "merge", f"{bed}1", f"{bed}2", "-o", f"{bed}joined")
        assert ran.code == 0, ran.err
        assert content(Path(f"{bed}joined")) == content(Path(bed))
        if not more:
            assert cli(*table, f"{bed}.parquet").code == 0
            rows = json.loads((Path(bed) / "manifest.json").read_text())["rows"]
            assert rows == pq.read_table(f"{bed}.parquet").num_rows == (240 if bed == "n" else 0)
    ran = cli("atlas", "background", "all", "-o", "b.parquet")
    if "--indels" not in more:
        one_line(ran, "no tile with scores")
    write_vcf(here / "v.vcf", [("II", 310, letters[3][309], "A" if letters[3][309] != "A" else "C")])
    look = ("lookup", "v.vcf", "--fasta", "n.fa", "-q", "-o")
    assert cli(*look, "n.csv", "--atlas", "n").code == 0
    assert Path("n.csv").read_text().splitlines()[1].endswith(",hit")
    assert cli(*look, "all.csv", "--atlas", "all").code == 0
    assert Path("all.csv").read_text().splitlines()[1].endswith(",no_window")


def test_shards_join_to_the_whole(here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte, in any order; also where a shard has nothing to do."""
    small_stretches(monkeypatch, 400)
    more = ("--indels", "--numbers", "int16", "--tabix", "vcf")
    whole = built(cli, "whole", *more)
    for i in range(1, 6):
        built(cli, f"s{i}", *more, "--shard", f"{i}/5")
    assert not list(Path("s1").glob("atlas.*"))
    assert [] in [list(Path(f"s{i}").glob("scores/*")) for i in range(1, 6)]
    ran = cli("atlas", "merge", *(f"s{i}" for i in (3, 1, 2, 5, 4)), "-o", "joined")
    assert ran.code == 0, ran.err
    assert content(Path("joined")) == content(whole)
    ran = cli("atlas", "merge", *(f"s{i}" for i in range(1, 6)), "-o", "joined")
    assert (ran.code, "already finished" in ran.err) == (0, True)
    one_line(
        cli("lookup", "v.vcf", "--atlas", "s3", "--fasta", "g.fa", "-o", "o.csv"), "shard 3 of 5", "merge"
    )
    merge = ("atlas", "merge", "-o", "j")
    one_line(cli(*merge, "s1"), "shards are missing: 2, 3, 4 and 1 more of 5")
    one_line(cli(*merge[:-1], "s1/j", *(f"s{i}" for i in range(1, 6))), "s1/j/ lies in the shard s1")
    one_line(cli(*merge, *(f"s{i}" for i in range(1, 6)), "s4"), "shard 4 of 5 is given 2 times")
    one_line(cli(*merge, "s1", "whole"), "whole", "no shard")
    built(cli, "t2", "--indels", "--shard", "2/5")
    one_line(cli(*merge, "s1", "t2"), "s1 and t2 are shards of atlases that differ", "numbers")
    assert not Path("j").exists()


def test_shards_of_one_model_join_to_the_whole(here: Path, cli: Cli) -> None:
    """Byte for byte, although 16-bit numbers then hold no spread: its largest error is 0."""
    model = sorted(Path("m").glob("*.safetensors"))[0]
    one = ("--numbers", "int16", "-m", model)
    command = ("atlas", "build", "--fasta", "g.fa", "--tiles", "t.bed", "-q", *one)
    for name, more in (("whole", ()), ("s1", ("--shard", "1/2")), ("s2", ("--shard", "2/2"))):
        ran = cli(*command, *more, "-o", name)
        assert ran.code == 0, ran.err
    assert cli("atlas", "merge", "s1", "s2", "-o", "joined").code == 0
    assert json.loads(Path("whole/manifest.json").read_text())["numbers"]["largest_error"]["effect_sd"] == 0
    assert content(Path("joined")) == content(Path("whole"))


def test_an_interrupted_build_goes_on(here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a fault while scoring, while files are written, and right before the record: the same bytes."""
    whole, small = content(built(cli, "whole", "--part-rows", 97)), ("--part-rows", 97)
    scored: list[int] = []

    class Faulty(Steady):
        def _score(self, batch: Any, *rest: Any) -> np.ndarray:
            scored.append(1)
            if len(scored) == 4:
                raise KeyboardInterrupt
            return super()._score(batch, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(
            "legscore.run.open_engines.open_engine", lambda members, request, say: Faulty(members, request)
        )
        assert cli(*BUILD, "-o", "a", *small).code == 130
    assert not Path("a").exists()
    assert list(Path("a.parts/scores").glob("part-*"))
    one_line(cli("lookup", "v.vcf", "--atlas", "a", "--fasta", "g.fa", "-o", "o.csv"), "atlas a is not there")
    one_line(
        cli("lookup", "v.vcf", "--atlas", "a.parts", "--fasta", "g.fa", "-o", "o.csv"), "no atlas", "manifest"
    )
    one_line(cli(*BUILD, "-o", "a", *small, "--indels"), "interrupted run that differs", "--restart")
    with monkeypatch.context() as patch:
        patch.setattr(
            "legscore.atlas.fill.write_tiles", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert cli(*BUILD, "-o", "a", *small).code == 130
    with monkeypatch.context() as patch:
        patch.setattr(
            "legscore.atlas.make_atlas.write_record", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        assert cli(*BUILD, "-o", "a", *small).code == 130
    assert Path("a/manifest.json").exists()
    ran = cli(*BUILD[:-1], "-o", "a", *small)
    assert ran.code == 0, ran.err
    assert "resume: " in ran.err
    assert content(Path("a")) == whole
    assert not Path("a.parts").exists()
    ran = cli(*BUILD[:-1], "-o", "a/", *small)
    assert (ran.code, "already finished" in ran.err) == (0, True)
    with (Path("a/tiles.parquet")).open("ab") as stream:
        stream.write(b"x")
    one_line(cli(*BUILD, "-o", "a", *small), "not what a.run.json says", "--force")
    assert cli(*BUILD, "-o", "a", *small, "--force").code == 0
    assert content(Path("a")) == whole


def test_an_atlas_that_lacks_files_is_not_finished(here: Path, cli: Cli) -> None:
    """A file of scores gone or cut short: build and merge say so, and --force makes the same again."""
    whole = content(built(cli, "a"))
    built(cli, "s1", "--shard", "1/1")
    merge = ("atlas", "merge", "s1", "-o")
    assert cli(*merge, "j").code == 0
    name = sorted(path.name for path in Path("a/scores").iterdir())[0]
    for folder, command in (("a", (*BUILD, "-o")), ("j", merge)):
        path = Path(folder) / "scores" / name
        path.write_bytes(path.read_bytes()[:-7])
        one_line(cli(*command, folder), str(path), "bytes instead of", f"{folder}/ is not whole", "--force")
        path.unlink()
        one_line(cli(*command, folder), f"{path} is not there", f"{folder}/ is not whole", "--force")
        assert cli(*command, folder, "--force").code == 0
        assert content(Path(folder)) == whole
        assert cli(*command, folder).code == 0


def test_force_replaces_nothing_but_an_atlas(here: Path, cli: Cli) -> None:
    """Somebody's folder, a file or folder beside an atlas's own, names of an atlas without one: all stays."""
    built(cli, "s1", "--shard", "1/1")
    for folder in ("mine", "nested", "alike", "a", "b"):
        Path(folder).mkdir()
    Path("mine/thesis.txt").write_text("precious")
    Path("nested/sub/more").mkdir(parents=True)
    Path("alike/manifest.json").write_text("{}")
    named = {"mine": "thesis.txt", "nested": "sub/more/", "alike": "manifest.json"}
    for folder, foreign in (("a", "scores/own.parquet"), ("b", "z/x.txt")):
        built(cli, folder)
        (Path(folder) / foreign).parent.mkdir(exist_ok=True)
        (Path(folder) / foreign).write_text("precious")
        named[folder] = foreign
    for folder, foreign in named.items():
        before = content(Path(folder))
        for command in ((*BUILD, "-o", folder), ("atlas", "merge", "s1", "-o", folder)):
            one_line(cli(*command, "--force"), f"{folder}/ holds {foreign}, which legscore did not write")
            assert content(Path(folder)) == before
    assert Path("nested/sub/more").is_dir()
    Path("a/scores/own.parquet").unlink()
    Path("a/manifest.json").write_text("damaged")
    built(cli, "a", "--force")


@pytest.mark.parametrize("tile", ["I\t100\t180\tone", "I\t860\t940\tedge", "II\t300\t312\tshort"])
def test_an_atlas_of_one_tile(here: Path, cli: Cli, tile: str) -> None:
    """On one contig of two; none that can be scored; shards without a tile."""
    (here / "t.bed").write_text(f"{tile}\t0\t+\n")
    more = ("--numbers", "int16", "--tabix", "vcf", "--indels")
    whole = built(cli, "whole", *more)
    for i in (1, 2, 3):
        built(cli, f"s{i}", *more, "--shard", f"{i}/3")
    assert cli("atlas", "merge", "s1", "s2", "s3", "-o", "joined").code == 0
    assert content(Path("joined")) == content(whole)
    built(cli, "whole", *more)
    (here / "t.bed").write_text("")
    one_line(cli(*BUILD, "-o", "none"), "t.bed holds no region")


def test_two_builds_at_once(here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second is refused, with the first one's process; the first ends well."""
    seen: list[Ran] = []

    def meanwhile(members: Any, request: Any, say: Any) -> Steady:
        if not seen:
            script = "from legscore.cli import main; main()"
            words = [*BUILD, "-o", "a"]
            done = subprocess.run(
                [os.sys.executable, "-c", script, *words], capture_output=True, text=True, check=False
            )  # type: ignore[attr-defined]
            seen.append(Ran(done.returncode, done.stdout, done.stderr))
        return Steady(members, request)

    monkeypatch.setattr("legscore.run.open_engines.open_engine", meanwhile)
    atlas = built(cli, "a")
    one_line(seen[0], "a/", str(os.getpid()))
    assert (atlas / "manifest.json").exists()


def test_numbers_of_16_bits(here: Path, cli: Cli) -> None:
    """Every score is within the error that the manifest states; a score that does not fit ends the build."""
    exact = score_tables(built(cli, "a", "--indels"))
    atlas = built(cli, "b", "--indels", "--numbers", "int16")
    rounded, stated = score_tables(atlas), json.loads((atlas / "manifest.json").read_text())["numbers"]
    assert rounded.select(["pos", "ref", "alt", "tile_id", "status"]) == exact.select(
        ["pos", "ref", "alt", "tile_id", "status"]
    )
    for name in COLUMNS:
        values = rounded[f"{name}_scaled"]
        assert values.type == pa.int16()
        assert values.is_null().equals(exact[name].is_null())
        error = np.abs(
            values.drop_null().to_numpy() * stated["factor"][name] - exact[name].drop_null().to_numpy()
        )
        assert error.max() <= stated["largest_error"][name] * 1.0001 + 1e-7
        assert 0 < stated["largest_error"][name] <= stated["factor"][name] / 2 + 1e-6
    from legscore.atlas.scaled import Scale

    with pytest.raises(Exception, match="--numbers float32"):
        Scale({"effect": 1 / 1024}).encode("effect", np.array([33.0], dtype=np.float32))


def test_a_damaged_atlas_is_refused(here: Path, cli: Cli) -> None:
    """Cut short, changed, a file gone, a manifest edited; read where only reading is allowed, and where it was
    moved to."""
    atlas = built(cli, "a")
    write_vcf(here / "v.vcf", [("I", 150, "N", "A")])
    position = 150
    letters = (here / "g.fa").read_text().split("\n")[1]
    base = letters[position - 1]
    write_vcf(here / "v.vcf", [("I", position, base, "ACGT".replace(base, "")[0])])
    look = ("lookup", "v.vcf", "--fasta", "g.fa", "-q", "--force", "-o", "o.csv", "--atlas")
    for name in ("scores/0001-000000000000.parquet", "tiles.parquet", "manifest.json"):
        for number, damage in enumerate(
            (lambda b: b[:-9], lambda b: b[:40] + bytes([b[40] ^ 1]) + b[41:], lambda b: b + b"x")
        ):
            copy = here / f"c{number}{Path(name).name}"
            shutil.copytree(atlas, copy)
            path = copy / name
            path.write_bytes(damage(path.read_bytes()))
            if name == "manifest.json" and number == 2:
                continue
            one_line(cli(*look, copy), Path(name).name)
            assert not Path("o.csv").exists()
        os.unlink(copy / name)
        one_line(cli(*look, copy), Path(name).name)
    manifest = json.loads((atlas / "manifest.json").read_text())
    shutil.copytree(atlas, "edited")
    (here / "edited/manifest.json").write_text(json.dumps({**manifest, "rows": 1}))
    one_line(cli(*look, "edited"), "was changed after it was written")
    (here / "edited/manifest.json").write_text(json.dumps({**manifest, "format": "legscore-atlas-9"}))
    one_line(cli(*look, "edited"), "legscore-atlas-9")
    one_line(cli(*look, "g.fa"), "g.fa is no folder")
    moved = here / "else where"
    shutil.move(atlas, moved)
    before = content(moved)
    for path in (moved, moved / "scores"):
        path.chmod(0o555)
    try:
        assert cli(*look, moved).code == 0
    finally:
        for path in (moved, moved / "scores"):
            path.chmod(0o755)
    assert content(moved) == before
    one_line(
        cli("lookup", "v.vcf", "--fasta", "g.fa", "--atlas", moved, "-o", moved / "o.csv"),
        "lies in the atlas",
    )


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (("--tiles", "gone.bed"), ("gone.bed",)),
        (("--centered",), ("centered",)),
        (("--anchor", "5"), ("--anchor", "--indels")),
        (("--indel", "construct"), ("--indel", "--indels")),
        (("--shard", "3/2"), ("--shard 3/2",)),
        (("-o", "-"), ("-o -", "folder")),
        (("-o", "s3://b/a"), ("s3://b/a", "disk")),
        (("-o", "g.fa"), ("g.fa",)),
        (("-o", "gone/a"), ("gone",)),
        (("--log-json", "l.json", "--dry-run"), ("--log-json",)),
    ],
)
def test_what_cannot_be_built(here: Path, cli: Cli, more: tuple[str, ...], words: tuple[str, ...]) -> None:
    """One line, exit code 2, and nothing is left."""
    before = content(here)
    ran = cli(*BUILD, "-o", "a", *more)
    if more == ("--centered",):
        assert ran.code == 2
        assert "no option --centered" in ran.err
    else:
        one_line(ran, *words)
    ran = cli("atlas", "build", "--fasta", "g.fa", "-m", "models", "-o", "a")
    one_line(ran, "--promoters GTF or --tiles BED")
    assert "centered" not in ran.err
    after = content(here)
    after.pop("g.fa.fai", None)
    assert after == before


def test_dry_run_and_lines(here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What there is to do, and at the end how much room a million changes take."""
    scored, score = [], ThreadedEngine.score

    def counted(engine: ThreadedEngine, batch: Batch, *more: Any, **options: Any) -> np.ndarray:
        scored.append(batch.n_windows)
        return score(engine, batch, *more, **options)

    with monkeypatch.context() as patch:
        patch.setattr(ThreadedEngine, "score", counted)
        ran = cli(*BUILD[:-1], "-o", "a", "--dry-run")
    assert ran.code == 0, ran.err
    assert "parts: 1, of 1,665 rows" in ran.out
    windows = int(re.search(r"windows: ([\d,]+) after", ran.out)[1].replace(",", ""))  # type: ignore[index]
    assert windows > 1_000
    assert sum(scored) == 256 + windows  # the first batch twice; changes are timed, not only their windows
    assert not Path("a").exists()
    ran = cli(*BUILD[:-1], "-o", "a")
    assert "1,665 changes in 8 tiles" in ran.err
    assert "MB a million" in ran.err
    record = json.loads(Path("a.run.json").read_text())
    assert record["atlas"]["bytes_per_million_rows"] > 0
    assert record["output"] == "a/"


def test_the_indexed_text_is_read_by_others(here: Path, cli: Cli) -> None:
    """bcftools annotate (as pysam has it) carries the scores into another VCF, tabix finds rows, DuckDB and polars read the files."""
    atlas = built(cli, "a", "--indels", "--tabix", "vcf")
    header = gzip.decompress((atlas / "atlas.vcf.gz").read_bytes()).decode().partition("#CHROM")[0]
    assert 'Format: ALT|gene|tile|strand|effect|sd|symbol|Consequence">' in header  # as split-vep reads it
    assert "{" not in header
    rows = [row for row in score_tables(atlas).to_pylist() if row["status"] == "ok"]
    shared = [row for row in rows if row["chrom"] == "I" and row["pos"] == 150]
    import pysam

    one = [("I", 150, shared[0]["ref"], shared[0]["alt"]), ("I", 300, "A", "C")]
    write_vcf(here / "mine.vcf", one, "##contig=<ID=I,length=900>\n")
    pysam.tabix_index("mine.vcf", preset="vcf", force=True)
    columns = "INFO/LEGSCORE,INFO/LEGSCORE_MAX"
    text = pysam.bcftools.annotate("-a", str(atlas / "atlas.vcf.gz"), "-c", columns, "mine.vcf.gz")
    record = next(line for line in text.splitlines() if line.startswith("I\t150"))
    entries = record.split("LEGSCORE=")[1].split(";")[0].split(",")
    mine = [row for row in shared if row["alt"] == shared[0]["alt"] and row["ref"] == shared[0]["ref"]]
    assert len(entries) == len(mine) == 2
    for entry, row in zip(entries, mine, strict=True):
        fields = entry.split("|")
        assert (fields[0], fields[2], fields[3]) == (row["alt"], row["tile_id"], row["strand"])
        assert float(fields[4]) == pytest.approx(row["effect"], rel=1e-5)
    largest = max((row["effect"] for row in mine), key=abs)
    assert float(record.split("LEGSCORE_MAX=")[1].split("\t")[0].split(";")[0]) == pytest.approx(
        largest, rel=1e-5
    )
    tsv = built(cli, "t", "--tabix", "tsv")
    with pysam.TabixFile(str(tsv / "atlas.tsv.gz")) as file:
        found = [line.split("\t") for line in file.fetch("I", 149, 150)]
        assert file.header[0].split("\t")[:4] == ["#chrom", "pos", "ref", "alt"]
    assert sorted((f[3], f[6]) for f in found) == sorted(
        (r["alt"], r["tile_id"]) for r in shared if len(r["ref"]) + len(r["alt"]) == 2
    )
    import polars as pl

    frame = (
        pl.scan_parquet(f"{atlas}/scores/*.parquet")
        .filter(pl.col("pos") == 150, pl.col("chrom") == "I")
        .collect()
    )
    assert sorted(frame["effect"].to_list()) == sorted(row["effect"] for row in shared)
    duckdb = pytest.importorskip("duckdb", reason="the recipe for DuckDB needs duckdb")
    query = f"SELECT effect FROM '{atlas}/scores/*.parquet' WHERE chrom = 'I' AND pos = 150 ORDER BY effect"
    assert [row[0] for row in duckdb.sql(query).fetchall()] == sorted(row["effect"] for row in shared)


def test_scores_that_are_not_finite(here: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """They have their status in the atlas, and no tile a reference score that is none."""

    class Infinite(Steady):
        def _score(self, *given: Any) -> np.ndarray:
            return np.full_like(super()._score(*given), np.inf)

    opened_by(monkeypatch, lambda members, request, say: Infinite(members, request))
    atlas = built(cli, "a", "--verify", "0")
    assert set(score_tables(atlas)["status"].to_pylist()) == {"nonfinite"}
    assert score_tables(atlas)["effect"].null_count == score_tables(atlas).num_rows
    assert pq.read_table(atlas / "tiles.parquet")["ref_score"].null_count == 8
