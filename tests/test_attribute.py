"""Contributions: centred as an obvious loop does, on the right strand, whole or not there; files and refusals."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest
from conftest import REPOSITORY, Ran, one_line, random_dna

import legscore
from legscore.attribute.attribute_files import field
from legscore.attribute.high_runs import high_runs, threshold
from legscore.attribute.npz_files import read_npz

Cli = Callable[..., Ran]
GENOME = REPOSITORY / "examples" / "genome"
CONTIGS = {"chrA": 1000, "chrB": 500}
COMPLEMENT = {"A": "T", "C": "G", "G": "C", "T": "A", "N": "N"}


def rows_of(
    name: str, sequence: str, start: int | None, strand: str = "+", chrom: str = "chrA", seed: int = 0
) -> list[dict[str, Any]]:
    """A row for every change of a tile at `start` (0-based), as a run writes them."""
    rng, rows = np.random.default_rng(seed), []
    for offset, base in enumerate(sequence):
        for alt in "ACGT" if base in "ACGT" else "":
            if alt == base:
                continue
            row: dict[str, Any] = {
                "tile_id": name, "strand": strand, "offset": offset, "alt_base": alt, "status": "ok",
                "effect": float(np.float32(rng.normal())),
            }  # fmt: skip
            if start is not None:
                at = offset if strand == "+" else len(sequence) - 1 - offset
                row |= {
                    "chrom": chrom,
                    "pos": start + at + 1,
                    "ref": base if strand == "+" else COMPLEMENT[base],
                }
            rows.append(row)
    return rows


def write(path: Path, rows: Sequence[dict[str, Any]], **record: Any) -> Path:
    found = {"legscore": "0.1.0", "models": [], "variants": {"contigs": CONTIGS}, **record}
    table = pa.Table.from_pylist(list(rows)).replace_schema_metadata({"legscore": json.dumps(found)})
    pq.write_table(table, path)
    return path


def by_a_loop(rows: Sequence[dict[str, Any]], name: str, sequence: str) -> np.ndarray:
    """Hypothetical contributions [4, length], position by position."""
    effects = {(row["offset"], row["alt_base"]): row["effect"] for row in rows if row["tile_id"] == name}
    found = np.zeros((4, len(sequence)))
    for offset, base in enumerate(sequence):
        values = [0.0 if other == base else effects.get((offset, other)) for other in "ACGT"]
        if base != "N" and None not in values:
            mean = sum(values) / 4
            for i, value in enumerate(values):
                found[i, offset] = value - mean
    return found


@pytest.fixture
def tiles() -> dict[str, str]:
    """Tiles of three lengths, one with N's."""
    rng = np.random.default_rng(1)
    tiles = {"one": random_dna(rng, 20), "two": random_dna(rng, 31), "three": random_dna(rng, 25)}
    tiles["three"] = f"{tiles['three'][:4]}N{tiles['three'][5:]}"
    return tiles


def test_contributions_are_those_of_the_loop(tmp_path: Path, cli: Cli, tiles: dict[str, str]) -> None:
    """Centred on the mean over bases; tiles of different lengths, N's and a change without a score."""
    rows = [
        row for i, (name, text) in enumerate(tiles.items()) for row in rows_of(name, text, 100 * i, seed=i)
    ]
    gone = next(row for row in rows if row["tile_id"] == "two" and row["offset"] == 9)
    gone |= {"effect": None, "status": "nonfinite"}
    ran = cli("attribute", write(tmp_path / "s.parquet", rows), "-o", tmp_path / "c.npz")
    assert ran.code == 0, ran.err
    assert "tiles: 3 (column tile_id), 76 positions" in ran.err
    assert "2 positions without scores of all changes, or a base that is known" in ran.err
    assert "1 status nonfinite" in ran.err
    held, one_hot = np.load(tmp_path / "c.npz"), np.load(tmp_path / "c.one_hot.npz")["arr_0"]
    assert held["arr_0"].shape == one_hot.shape == (3, 4, 31)
    assert held["arr_0"].dtype == np.float32
    assert held["name"].tolist() == list(tiles)
    assert held["length"].tolist() == [20, 31, 25]
    assert held["bases"].tolist() == list("ACGT")
    for i, (name, text) in enumerate(tiles.items()):
        wanted = by_a_loop([row for row in rows if row["effect"] is not None], name, text)
        np.testing.assert_allclose(held["arr_0"][i, :, : len(text)], wanted, atol=1e-6)
        assert not held["arr_0"][i, :, len(text) :].any()
        np.testing.assert_allclose(held["arr_0"][i].sum(axis=0), 0, atol=1e-6)
        shown = "".join("ACGT"[column.argmax()] if column.any() else "N" for column in one_hot[i].T)
        assert shown == text + "N" * (31 - len(text))
    first = (tmp_path / "c.npz").read_bytes()
    assert cli("attribute", tmp_path / "s.parquet", "-o", tmp_path / "c.npz", "--force", "-q").code == 0
    assert (tmp_path / "c.npz").read_bytes() == first


def test_a_base_that_is_needed_contributes_positively(tmp_path: Path, cli: Cli, toy_models: Path) -> None:
    """A run's scores through the whole way: the sign, the mean over members, and the place of a minus tile."""
    changes, scores = tmp_path / "v.parquet", tmp_path / "s.parquet"
    legscore.build_variants(
        None, changes, fasta=GENOME / "toy.fa", regions_bed=GENOME / "tiles.bed", saturate=True
    )
    legscore.score_file(changes, scores, models=toy_models, precision="fp32", per_model=True)
    assert cli("attribute", scores, "-o", tmp_path / "c.npz").code == 0
    held = np.load(tmp_path / "c.npz")
    assert held["strand"].tolist() == ["+", "-"]
    assert (held["start"].tolist(), held["end"].tolist()) == ([260, 840], [340, 920])
    table = (
        pq.read_table(scores).filter(pa.compute.equal(pq.read_table(scores)["tile_id"], "PHO5")).to_pylist()
    )
    ((sequence,),) = [set(pq.read_table(changes).filter(pa.compute.equal(pq.read_table(changes)["tile_id"], "PHO5"))["sequence"].to_pylist())]  # fmt: skip
    at = 30
    each = np.array([row["effect_per_model"] for row in table if row["offset"] == at])
    assert each.shape == (3, 3)
    of_members = -each.sum(axis=0) / 4
    base = "ACGT".index(sequence[at])
    np.testing.assert_allclose(held["arr_0"][1, base, at], of_members.mean(), atol=1e-5)


def signal(tmp_path: Path, cli: Cli, rows: list[dict[str, Any]], *more: object) -> Any:
    pyBigWig = pytest.importorskip("pyBigWig", reason="bigWig needs legscore[bigwig]")
    ran = cli("attribute", write(tmp_path / "s.parquet", rows), "-o", tmp_path / "c.npz", "--tracks", tmp_path / "c.bw", *more)  # fmt: skip
    assert ran.code == 0, ran.err
    return [pyBigWig.open(str(tmp_path / f"c.{word}.bw")) for word in ("plus", "minus")]


def test_tracks_lie_on_their_strand(tmp_path: Path, cli: Cli) -> None:
    """A minus-strand tile runs backwards on the genome; where tiles overlap, the mean."""
    rng = np.random.default_rng(3)
    left, right, back = random_dna(rng, 20), random_dna(rng, 20), random_dna(rng, 20)
    right = left[10:] + right[:10]
    rows = [
        *rows_of("a", left, 100),
        *rows_of("b", right, 110, seed=1),
        *rows_of("c", back, 105, "-", seed=2),
    ]
    rows += rows_of("d", back, 5, "-", "chrB", seed=3)
    plus, minus = signal(tmp_path, cli, rows)
    assert plus.chroms() == minus.chroms() == CONTIGS
    value = {
        name: by_a_loop(rows, name, text)
        for name, text in (("a", left), ("b", right), ("c", back), ("d", back))
    }

    def of(name: str, text: str, offset: int) -> float:
        return float(value[name]["ACGT".index(text[offset]), offset])

    assert [(start, end) for start, end, _ in plus.intervals("chrA")] == [(i, i + 1) for i in range(100, 130)]
    assert plus.intervals("chrB") is None
    assert plus.values("chrA", 103, 104)[0] == pytest.approx(of("a", left, 3), abs=1e-6)
    both = (of("a", left, 15) + of("b", right, 5)) / 2
    assert plus.values("chrA", 115, 116)[0] == pytest.approx(both, abs=1e-6)
    for offset in (0, 7, 19):
        place = 105 + 19 - offset
        assert minus.values("chrA", place, place + 1)[0] == pytest.approx(of("c", back, offset), abs=1e-6)
        place = 5 + 19 - offset
        assert minus.values("chrB", place, place + 1)[0] == pytest.approx(of("d", back, offset), abs=1e-6)


def test_runs_of_high_contribution(tmp_path: Path, cli: Cli) -> None:
    """A site that is needed, in noise, on both strands: BED coordinates, strand, sum and bases are its own."""
    rng = np.random.default_rng(4)
    site, rows = "TTACCCGG", []
    for i in range(30):
        text = random_dna(rng, 80)
        text = text[:40] + site + text[48:]
        strand, start = ("+", 30 * i) if i % 2 else ("-", 30 * i)
        for row in rows_of(f"t{i}", text, start, strand, seed=i):
            at_site = 40 <= row["offset"] < 48
            row["effect"] = row["effect"] * 0.1 - (2.0 if at_site and i < 4 else 0.0)
            rows.append(row)
    scores = write(tmp_path / "s.parquet", rows)
    bed = tmp_path / "r.bed"
    assert cli("attribute", scores, "-o", tmp_path / "c.npz", "--bed", bed).code == 0
    lines = [line.split("\t") for line in bed.read_text().splitlines()]
    assert {line[3] for line in lines} == {"t0", "t1", "t2", "t3"}
    for chrom, start, end, name, score, strand, total, bases in lines:
        i = int(name[1:])
        assert (chrom, strand) == ("chrA", "+" if i % 2 else "-")
        first = 30 * i + 40 if i % 2 else 30 * i + 80 - 48
        assert site in bases
        assert abs(int(start) - first) <= 7
        assert int(end) - int(start) == len(bases)
        assert float(total) > 0
        assert 0 < int(score) <= 1000
    found = read_npz(str(tmp_path / "c.npz"))
    assert high_runs(found, fdr=1e-9) != high_runs(found)
    assert [run.tile for run in high_runs(found)] == [0, 1, 2, 3]
    text_only = [{key: value for key, value in row.items() if key not in ("chrom", "pos")} for row in rows]
    scores = write(tmp_path / "n.parquet", text_only)
    ran = cli("attribute", scores, "-o", tmp_path / "n.npz", "--bed", tmp_path / "n.bed")
    assert "by tile: the scores do not say where tiles lie" in ran.err
    by_tile = [line.split("\t") for line in (tmp_path / "n.bed").read_text().splitlines()]
    assert [(line[0], line[5]) for line in by_tile] == [(f"t{i}", "+") for i in range(4)]
    assert all(abs(int(line[1]) - 40) <= 7 for line in by_tile)


def test_the_threshold_is_that_of_benjamini_and_hochberg() -> None:
    sizes = np.random.default_rng(0).exponential(size=500)
    sizes[:20] += 12
    p = np.exp(-sizes * np.log(2) / np.median(sizes))
    order, passing = np.argsort(p), 0
    for rank, i in enumerate(order, 1):
        if p[i] <= 0.05 * rank / len(p):
            passing = rank
    assert threshold(sizes, 0.05) == sizes[order[passing - 1]]
    assert threshold(np.zeros(5), 0.05) == threshold(np.zeros(0), 0.05) == np.inf


@pytest.mark.parametrize("name", ["$x^2$ \n\t", "a b%c", "x" * 300, "日本", "name,with;signs"])
def test_names_with_odd_characters(tmp_path: Path, cli: Cli, name: str) -> None:
    pytest.importorskip("matplotlib", reason="figures need legscore[report]")
    rng = np.random.default_rng(5)
    rows = rows_of(name, random_dna(rng, 20), 10) + rows_of("other", random_dna(rng, 20), 40, seed=1)
    for row in rows:
        row["effect"] -= 9 * (3 < row["offset"] < 15) * (row["tile_id"] == name)
    given = (write(tmp_path / "s.parquet", rows), "-o", tmp_path / "c.npz", "--width", 4, "--fdr", 0.9)
    assert cli("attribute", *given, "--bed", tmp_path / "r.bed").code == 0
    assert np.load(tmp_path / "c.npz")["name"].tolist() == [name, "other"]
    lines = (tmp_path / "r.bed").read_text().splitlines()
    assert {len(line.split("\t")) for line in lines} == {8}
    assert field(name) in {line.split("\t")[3] for line in lines}
    picture = tmp_path / "p.png"
    assert cli("plot", "logo", tmp_path / "c.npz", "--promoter", name, "-o", picture).code == 0
    assert picture.stat().st_size > 1000


def test_scores_without_rows_give_empty_outputs(tmp_path: Path, cli: Cli) -> None:
    rows = rows_of("one", "ACGTACGTACGTACGT", 10)
    table = pq.read_table(write(tmp_path / "s.parquet", rows))
    pq.write_table(table.slice(0, 0), tmp_path / "e.parquet")
    given = ("--tracks", tmp_path / "c.bedgraph", "--bed", tmp_path / "c.bed")
    ran = cli("attribute", tmp_path / "e.parquet", "-o", tmp_path / "c.npz", *given)
    assert ran.code == 0, ran.err
    assert "has no rows" in ran.err
    assert np.load(tmp_path / "c.npz")["arr_0"].shape == (0, 4, 0)
    assert np.load(tmp_path / "c.one_hot.npz")["arr_0"].shape == (0, 4, 0)
    assert (tmp_path / "c.bed").read_text() == ""
    assert len((tmp_path / "c.plus.bedgraph").read_text().splitlines()) == 1
    one_line(cli("plot", "logo", tmp_path / "c.npz", "-o", tmp_path / "p.png"), "no tiles")
    ran = cli("plot", "ism", tmp_path / "e.parquet", "--promoter", "one", "-o", tmp_path / "p.png")
    one_line(ran, "no rows are left to evaluate: there are none")
    empty = table.slice(0, 0)
    renamed = ["effect_a" if name == "effect" else name for name in empty.column_names]
    empty = empty.rename_columns(renamed).replace_schema_metadata(table.schema.metadata)
    pq.write_table(empty, tmp_path / "a.parquet")
    ran = cli("attribute", tmp_path / "a.parquet", "--effect", "effect_a", "-o", tmp_path / "a.npz")
    assert ran.code == 0, ran.err
    assert np.load(tmp_path / "a.npz")["arr_0"].shape == (0, 4, 0)
    one_line(
        cli("attribute", tmp_path / "a.parquet", "-o", tmp_path / "b.npz"), "need the columns", "effect_a"
    )
    pq.write_table(empty.replace_schema_metadata(None), tmp_path / "n.parquet")
    one_line(cli("attribute", tmp_path / "n.parquet", "-o", tmp_path / "b.npz"), "n.parquet has no rows")


def test_text_scores_read_as_well(tmp_path: Path, cli: Cli) -> None:
    """A CSV with its record beside it says the same as Parquet."""
    rows = rows_of("one", "ACGTACGTACGTACGT", 10) + rows_of("two", "ACCTTGGTACGGACGT", 50, "-")
    table = pq.read_table(write(tmp_path / "s.parquet", rows))
    pc.write_csv(table, tmp_path / "t.csv")
    (tmp_path / "t.csv.run.json").write_bytes(table.schema.metadata[b"legscore"])
    for name in ("s.parquet", "t.csv"):
        out = tmp_path / f"{name}.npz"
        assert (
            cli("attribute", tmp_path / name, "-o", out, "--tracks", tmp_path / f"{name}.bedgraph").code == 0
        )
    assert (tmp_path / "s.parquet.npz").read_bytes() == (tmp_path / "t.csv.npz").read_bytes()
    tracks = [(tmp_path / f"{name}.minus.bedgraph").read_bytes() for name in ("s.parquet", "t.csv")]
    assert tracks[0] == tracks[1]


TAILED = [
    ("trail", 20, 60, "+"), ("lead", 60, 100, "+"), ("trailing", 60, 100, "-"), ("leading", 20, 60, "-"),
]  # fmt: skip
"""Tiles beside NNNN at 56 to 63: name, start, end, strand."""


@pytest.mark.parametrize("more", [(), (("long", 100, 150, "+"),)], ids=["one length", "two lengths"])
def test_tiles_that_end_in_n_are_whole(
    tmp_path: Path, cli: Cli, toy_model: Path, more: tuple[tuple[str, int, int, str], ...]
) -> None:
    """Length, place and count of N's are the tile's at either end and strand, also in a picture's tile."""
    rng = np.random.default_rng(4)
    text = random_dna(rng, 56) + "NNNNNNNN" + random_dna(rng, 120)
    (tmp_path / "g.fa").write_text(f">c\n{text}\n")
    tiles = [*TAILED, *more]
    (tmp_path / "t.bed").write_text("".join(f"c\t{s}\t{e}\t{n}\t0\t{x}\n" for n, s, e, x in tiles))
    changes, scores = tmp_path / "v.parquet", tmp_path / "s.parquet"
    legscore.build_variants(
        None, changes, fasta=tmp_path / "g.fa", regions_bed=tmp_path / "t.bed", saturate=True
    )
    legscore.score_file(changes, scores, models=toy_model, engine="null")
    ran = cli("attribute", scores, "-o", tmp_path / "c.npz")
    assert ran.code == 0, ran.err
    held = read_npz(str(tmp_path / "c.npz"))
    spans = {name: (start, end, strand) for name, start, end, strand in tiles}
    arrays = np.load(tmp_path / "c.npz")
    found = zip(*(arrays[name].tolist() for name in ("name", "start", "end", "strand")), strict=True)
    assert {name: tuple(span) for name, *span in found} == spans
    assert held.length_T.tolist() == [spans[name][1] - spans[name][0] for name in held.names_T]
    assert f"{sum(e - s for _, s, e, _ in tiles)} positions" in ran.err
    assert "16 positions without scores of all changes, or a base that is known" in ran.err
    from legscore.evaluate.saturation import read_saturation

    turned = str.maketrans("ACGTN", "TGCA.")
    for name, start, end, strand in tiles:
        wanted = text[start:end].replace("N", ".")
        wanted = wanted if strand == "+" else text[start:end].translate(turned)[::-1]
        assert read_saturation(str(scores)).find(name).sequence == wanted


def test_lengths_that_metadata_say(tmp_path: Path, cli: Cli, toy_model: Path) -> None:
    """Those of promoters in files of before; none that cannot be, or of files that differ."""
    from legscore.evaluate.provenance import said_lengths
    from legscore.evaluate.saturation import read_saturation

    made = {"contigs": CONTIGS, "saturate": True, "tiles": "promoters", "length": 20}
    for said, length in ((made, 20), ({**made, "tiles": "regions"}, 16), ({**made, "length": 9}, 16)):
        scores = write(tmp_path / "s.parquet", ROWS, variants=said)
        assert read_saturation(str(scores)).length_T.tolist() == [length]
    for wrong in (True, "9", -1, 10**9, [4], {"one": None}, {"one": 2.5}, None):
        assert said_lengths({"variants": {**made, "tile_lengths": wrong}}) == {}
    assert said_lengths(None) == {}
    for name, end in (("a", 120), ("b", 125), ("c", 120)):
        (tmp_path / f"{name}.bed").write_text(f"toyI\t100\t{end}\t{name}\t0\t+\n")
        given = {"fasta": GENOME / "toy.fa", "regions_bed": tmp_path / f"{name}.bed", "saturate": True}
        legscore.build_variants(None, tmp_path / f"{name}.parquet", **given)
    for inputs, found in (("ac", 20), ("ab", {})):
        files = [tmp_path / f"{name}.parquet" for name in inputs]
        out = tmp_path / f"{inputs}.s.parquet"
        ran = cli("run", *files, "-m", toy_model, "--engine", "null", "-q", "-o", out)
        assert ran.code == 0, ran.err
        assert said_lengths(json.loads(pq.read_schema(out).metadata[b"legscore"])) == found


ROWS = rows_of("one", "ACGTACGTACGTACGT", 10)


@pytest.mark.parametrize(
    ("rows", "given", "words"),
    [
        (ROWS, ("-o", "c.npy"), (".npz files",)),
        (ROWS, ("-o", "c.npz", "--tracks", "c.txt"), ("tracks are", ".bw")),
        (ROWS, ("-o", "c.npz", "--tile-column", "gene"), ("no such column",)),
        ([{**row, "gene": row["offset"]} for row in ROWS], ("-o", "c.npz", "--tile-column", "gene"), ("gene does not name tiles",)),
        (ROWS, ("-o", "c.npz", "--effect", "effect_a"), ("--effect effect_a", "no such column")),
        (ROWS, ("-o", "c.npz", "--width", "3"), ("--width has no effect", "--bed")),
        (ROWS, ("-o", "c.npz", "--fdr", "0.1"), ("--fdr has no effect", "--bed")),
        (ROWS, ("-o", "nowhere/c.npz"), ("does not exist",)),
        (ROWS, ("-o", "c.npz", "--bed", "c.npz"), ("written twice",)),
        (ROWS, ("-o", "c.npz", "--bed", "c.one_hot.npz"), ("written twice",)),
        (ROWS, ("-o", "c.npz", "--bed", "s.parquet"), ("both input and output",)),
        ([{**row, "pos": row["pos"] + 990} for row in ROWS], ("-o", "c.npz", "--tracks", "c.bedgraph"), ("outside contig chrA",)),
        ([{**row, "chrom": "chrZ"} for row in ROWS], ("-o", "c.npz", "--tracks", "c.bedgraph"), ("length of contig 'chrZ' is not known",)),
        ([{**row, "pos": 7} for row in ROWS], ("-o", "c.npz", "--tracks", "c.bedgraph"), ("do not say where this tile lies",)),
        ([row for row in ROWS if row["offset"] < 4], ("-o", "c.npz"), ("no saturated promoter",)),
        ([{**row, "ref_base": row["alt_base"]} for row in ROWS if row["alt_base"] != "T" or row["offset"] % 4], ("-o", "c.npz"), ("with an effect",)),
        (ROWS + ROWS[:1], ("-o", "c.npz", "--tile-column", "tile_id"), ("stands twice",)),
        ([{**row, "effect": None, "status": "edge"} for row in ROWS], ("-o", "c.npz"), ("no rows are left", "status edge")),
    ],
)  # fmt: skip
def test_refusals(
    tmp_path: Path, cli: Cli, monkeypatch: Any, rows: list[dict[str, Any]], given: tuple[str, ...], words: tuple[str, ...]
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "s.parquet", rows)
    one_line(cli("attribute", "s.parquet", *given), *words)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["s.parquet"]


def test_effects_of_a_named_ensemble(tmp_path: Path, cli: Cli) -> None:
    """`--effect` takes another column; without a column `effect` the columns are told."""
    named = [
        {**{key: value for key, value in row.items() if key != "effect"}, "effect_a": row["effect"]}
        for row in ROWS
    ]
    scores = write(tmp_path / "s.parquet", named)
    assert cli("attribute", scores, "--effect", "effect_a", "-o", tmp_path / "a.npz").code == 0
    assert cli("attribute", write(tmp_path / "p.parquet", ROWS), "-o", tmp_path / "c.npz").code == 0
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "c.npz").read_bytes()
    one_line(cli("attribute", scores, "-o", tmp_path / "b.npz"), "need the columns", "effect_a")


def test_sparse_tiles_are_counted(tmp_path: Path, cli: Cli) -> None:
    """A tile with few changes is no saturation; it is told, not dropped in silence."""
    rows = [*ROWS, *(row for row in rows_of("few", "ACGTACGTACGTACGT", 100) if row["offset"] < 3)]
    ran = cli("attribute", write(tmp_path / "s.parquet", rows), "-o", tmp_path / "c.npz")
    assert "1 tile with changes at too few positions is left out" in ran.err
    assert np.load(tmp_path / "c.npz")["name"].tolist() == ["one"]


def test_files_that_are_no_contributions(tmp_path: Path, cli: Cli) -> None:
    assert cli("attribute", write(tmp_path / "s.parquet", ROWS), "-o", tmp_path / "c.npz").code == 0
    whole = dict(np.load(tmp_path / "c.npz"))
    broken = {
        "no array 'base'": {name: values for name, values in whole.items() if name != "base"},
        "arr_0 is float32": {**whole, "arr_0": whole["arr_0"][:, :3]},
        "not finite": {**whole, "arr_0": whole["arr_0"] * np.nan},
        "length holds": {**whole, "length": whole["length"] + 1},
        "no bases": {**whole, "base": whole["base"] + 4},
        "strand is": {**whole, "strand": whole["start"]},
    }
    for words, arrays in broken.items():
        np.savez(tmp_path / "b.npz", **arrays)
        one_line(cli("plot", "logo", tmp_path / "b.npz", "-o", tmp_path / "p.png"), words, "b.npz")
    (tmp_path / "b.npz").write_bytes((tmp_path / "c.npz").read_bytes()[:-40])
    one_line(
        cli("plot", "logo", tmp_path / "b.npz", "-o", tmp_path / "p.png"), "b.npz holds no contributions"
    )
    np.savez(tmp_path / "b.npz", arr_0=np.array([{}], dtype=object))
    one_line(
        cli("plot", "logo", tmp_path / "b.npz", "-o", tmp_path / "p.png"), "b.npz holds no contributions"
    )
    ran = cli("plot", "logo", tmp_path / "s.parquet", "-o", tmp_path / "p.png")
    one_line(ran, "s.parquet holds no contributions", "it is no .npz file")
    assert "pickle" not in ran.err
    one_line(cli("plot", "logo", tmp_path / "none.npz", "-o", tmp_path / "p.png"), "no such file")
    one_line(
        cli("plot", "logo", tmp_path / "c.npz", "--promoter", "ome", "-o", tmp_path / "p.png"),
        'did you mean "one"',
    )
    twice = ("--promoter", "one", "--promoter", "one", "-o", tmp_path / "p.png")
    one_line(cli("plot", "logo", tmp_path / "c.npz", *twice), "named twice")


def test_logos_share_a_scale_and_say_positions(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="figures need legscore[report]")
    from legscore.evaluate.figures.logo import Panel, logo_figure
    from legscore.evaluate.saturation import Place

    heights = np.linspace(-1, 2, 130) + 1e-9
    text = "ACGT" * 32 + "NA"
    figure = logo_figure(
        [
            Panel("long", text, heights, Place("II", 1250, -1)),
            Panel("short", text[:20], 3 * heights[:20], None),
        ]
    )
    axes = figure.axes
    assert len(axes) == 3  # the long one in two rows
    assert len({one.get_ylim() for one in axes}) == 1
    assert len({one.get_xlim() for one in axes}) == 1
    letters = [[patch.get_path().get_extents() for patch in one.patches] for one in axes]
    assert [len(one) for one in letters] == [120, 9, 20]
    assert letters[0][0].y0 == pytest.approx(-1)
    assert letters[1][-1].y1 == pytest.approx(2)
    assert letters[2][0].y0 == pytest.approx(-3)
    ticks = [text.get_text() for text in axes[0].get_xticklabels()]
    assert ticks[0] == "1,250"
    assert axes[0].get_xticks()[0] == 0
    assert axes[1].get_xticks()[0] == 0
    assert [text.get_text() for text in axes[1].get_xticklabels()] == ["1,130"]
    assert axes[0].get_xlabel() == "position on II (− strand), 5' → 3'"
    assert axes[2].get_xlabel() == "offset, 5' → 3'"
