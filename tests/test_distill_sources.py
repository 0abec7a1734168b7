"""Sources of a distillation's windows: most of a small one is trained on, large ones are drawn from as ever."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import random_dna, yeast_contract

pytest.importorskip("torch", reason="distilling needs legscore[train]")

from test_distill import tile_table

from legscore.distill.check_rows import tiles_with_snvs
from legscore.distill.drawn_groups import kmers_apart, kmers_of, share_nothing, with_changes
from legscore.distill.material import gather
from legscore.distill.options import DistillOptions
from legscore.distill.sources import Source, open_sources
from legscore.dna.codes import encode_text
from legscore.dna.contract import reverse_complement
from legscore.errors import InputError


def test_most_of_a_small_table_is_trained_on(tmp_path: Path) -> None:
    """And none of what is held out of it; a fifth is, each sequence once."""
    rng = np.random.default_rng(6)
    for n, least_held in ((60, 12), (3, 1)):
        texts = [random_dna(rng, 80) for _ in range(n)]
        (tmp_path / "t.csv").write_text("sequence\n" + "\n".join(texts) + "\n")
        listed = {bytes(encode_text(text)) for text in texts}
        for form in ("tiles", "measured"):
            said: list[str] = []
            options = DistillOptions(labels=2_000, **{form: (str(tmp_path / "t.csv"),)})  # type: ignore[arg-type]
            material = gather(yeast_contract(), 80, options, said.append)
            held, tiles = (
                [bytes(row) for row in check.inserts_NL[np.unique(check.ref_E)]] for check in material.checks
            )
            trained = [bytes(row) for row in material.train_GKL[:, 0]]
            assert len(set(tiles)) == len(tiles) == least_held
            assert set(tiles) <= listed
            assert sum(row in listed for row in held) <= least_held
            assert not set(trained) & {*held, *tiles}
            assert len(set(trained) & listed) == n - least_held
            share = np.mean([row in listed for row in trained])
            assert abs(share - (0.533 if form == "tiles" else 0.417)) < 0.08
            assert f"{round(share * len(trained)):,} of --{form}" in next(
                line for line in said if line.startswith("groups to train on:")
            )
            assert f"tiles: {least_held} to check on instead of 40; the others are for training" in said
            assert not [line for line in said if line.startswith("warning")]


def test_most_of_a_small_genome_is_trained_on(tmp_path: Path) -> None:
    """What is held out is a stretch of it, over the end of a contig if it comes so."""
    dna = [random_dna(np.random.default_rng(k), 5_000) for k in (7, 8)]
    (tmp_path / "g.fa").write_text(f">a\n{dna[0]}\n>b\n{dna[1]}\n")
    whole = np.concatenate([kmers_of(encode_text(one)[None])[0] for one in dna])
    for seed in range(1, 5):
        options = DistillOptions(labels=4_000, seed=seed, fasta=(str(tmp_path / "g.fa"),))
        material = gather(yeast_contract(), 80, options, lambda line: None)
        tiles = material.checks[1]
        assert 20 <= len(np.unique(tiles.tile_E)) <= 25
        refs = (material.train_GKL[:, 0], tiles.inserts_NL[np.unique(tiles.ref_E)])
        both = [np.concatenate([one, reverse_complement(one)]) for one in refs]
        trained, checked = (np.isin(whole, kmers_of(one)) for one in both)
        assert trained.mean() > 0.7
        assert 0.05 < checked.mean() < 0.25
        assert not (trained & checked).any()


def test_what_is_drawn_from_large_sources_stays_as_it_is(tmp_path: Path) -> None:
    """Labels that were kept, and students that can be made again, are of these windows."""
    rng = np.random.default_rng(9)
    (tmp_path / "g.fa").write_text(f">c\n{random_dna(rng, 200_000)}\n")
    listed = [random_dna(rng, 80) for _ in range(600)]
    (tmp_path / "m.csv").write_text("sequence\n" + "\n".join(listed) + "\n")
    given = ((str(tmp_path / "g.fa"),), (str(tmp_path / "m.csv"),))
    options = DistillOptions(labels=2_000, fasta=given[0], measured=given[1])
    material = gather(yeast_contract(), 80, options, lambda line: None)
    sources = open_sources(yeast_contract(), 80, (), *given, 1, lambda line: None)

    def drawn(n: int, rng: np.random.Generator, some: Sequence[tuple[float, Source]]) -> np.ndarray:
        of_source = rng.choice(len(some), n, p=[share for share, _ in some])
        counts = np.bincount(of_source, minlength=len(some))
        made = [source.draw(int(k), rng) for (_, source), k in zip(some, counts, strict=True)]
        return np.concatenate(made)[rng.permutation(n)]

    rng = np.random.default_rng([1, 43])
    tiles = tiles_with_snvs(drawn(40, rng, [(1.0, sources[2][1])]), rng)
    rng = np.random.default_rng([1, 41])
    held = with_changes(drawn(50, rng, sources), rng)
    apart, found = kmers_apart([held, tiles]), []
    while (wanted := 450 - sum(map(len, found))) > 0:
        made = with_changes(drawn(wanted, rng, sources), rng)
        found.append(made[share_nothing(made, apart)])
    assert len(found) > 1
    assert (material.checks[1].inserts_NL == tiles.reshape(-1, 80)).all()
    assert (material.checks[0].inserts_NL == held.reshape(-1, 80)).all()
    assert (material.train_GKL == np.concatenate(found)).all()


def test_a_source_that_gives_much_less_than_its_share_is_told(tmp_path: Path) -> None:
    """Sequences that share bases with each other cannot be parted."""
    tiles = tile_table(tmp_path / "t.parquet", random_dna(np.random.default_rng(10), 200), 2)
    said: list[str] = []
    gather(yeast_contract(), 80, DistillOptions(labels=400, tiles=(tiles,)), said.append)
    (line,) = [line for line in said if line.startswith("warning: --tiles gave")]
    assert "53.3 % were asked for" in line


def test_a_small_measured_table_is_not_all_kept_for_comparing(tmp_path: Path) -> None:
    """With --truth a fifth of its rows is, not the thousand of a large one."""
    rng = np.random.default_rng(11)
    lines = ["sequence,level", *(f"{random_dna(rng, 80)},{k}" for k in range(800))]
    (tmp_path / "m.csv").write_text("\n".join(lines) + "\n")
    options = DistillOptions(labels=2_000, measured=(str(tmp_path / "m.csv"),), truth="level")
    said: list[str] = []
    material = gather(yeast_contract(), 80, options, said.append)
    assert material.checks[2].name == "m.csv"
    assert 110 < len(material.checks[2].alt_E) < 210
    assert not [line for line in said if line.startswith("warning")]
    listed = {bytes(encode_text(line.split(",")[0])) for line in lines[1:]}
    assert np.mean([bytes(row) in listed for row in material.train_GKL[:, 0]]) > 0.3


def test_rows_with_n_are_kept_apart_too(tmp_path: Path) -> None:
    """A student scores them, so that what stands around the N's is not trained on."""
    rng = np.random.default_rng(12)
    dna = random_dna(rng, 60_000)
    (tmp_path / "g.fa").write_text(f">c\n{dna}\n")
    with_n = [f"{dna[at : at + 30]}NN{dna[at + 32 : at + 80]}" for at in range(0, 40_000, 80)]
    (tmp_path / "apart.csv").write_text("\n".join(["sequence", *with_n]) + "\n")
    options = DistillOptions(
        labels=800, fasta=(str(tmp_path / "g.fa"),), apart=(str(tmp_path / "apart.csv"),), check_tiles=5
    )
    train = gather(yeast_contract(), 80, options, lambda line: None).train_GKL.reshape(-1, 80)
    ours = {
        bytes(row[k : k + 20]) for one in (train, reverse_complement(train)) for row in one for k in range(61)
    }
    known = [text[k : k + 20] for text in with_n for k in range(61) if "N" not in text[k : k + 20]]
    assert len(known) > 10_000
    assert not [text for text in known if bytes(encode_text(text)) in ours]


def test_one_insert_is_one_tile(tmp_path: Path) -> None:
    """Drawn for every tile, it would be promised on as if it were many."""
    text = random_dna(np.random.default_rng(13), 80)
    (tmp_path / "one.csv").write_text(f"sequence\n{text}\n")
    options = DistillOptions(labels=400, tiles=(str(tmp_path / "one.csv"),))
    tiles = gather(yeast_contract(), 80, options, lambda line: None).checks[1]
    assert tiles.name == "tiles"
    assert len(np.unique(tiles.tile_E)) == 1
    assert bytes(tiles.inserts_NL[0]) == bytes(encode_text(text))


@pytest.mark.parametrize("option", ["tiles", "measured", "check", "own", "apart"])
def test_tables_are_read_alike_whatever_they_are_for(tmp_path: Path, option: str) -> None:
    """Of a table that fits two kinds of rows the pairs are read; one of variants is told what makes rows of it."""
    rng = np.random.default_rng(14)
    refs = [random_dna(rng, 80) for _ in range(40)]
    lines = [f"{random_dna(rng, 80)},{text},{'A' if text[0] != 'A' else 'C'}{text[1:]}" for text in refs]
    (tmp_path / "both.csv").write_text("\n".join(["sequence,ref_sequence,alt_sequence", *lines]) + "\n")

    def asked(name: str) -> DistillOptions:
        path = str(tmp_path / name)
        more = {"own_share": 100.0} if option == "own" else {}
        return DistillOptions(labels=400, **{option: path if option == "own" else (path,)}, **more)

    said: list[str] = []
    material = gather(yeast_contract(), 80, asked("both.csv"), said.append)
    if option in ("tiles", "measured"):
        listed = {bytes(encode_text(text)) for text in refs}
        assert any(bytes(row) in listed for row in material.train_GKL[:, 0])
    assert not [line for line in said if "--sequence-is" in line or "--kind" in line]
    for columns, words in {
        "dna": "no columns to score",
        "sequence,seq": "has both 'sequence' and 'seq'",
        "ref_sequence,alt_sequence": "column 'ref_sequence' is int64",
    }.items():
        pq.write_table(pa.table({name: [1, 2] for name in columns.split(",")}), tmp_path / "odd.parquet")
        with pytest.raises(InputError, match=f"{words}.*; rename the column$"):
            gather(yeast_contract(), 80, asked("odd.parquet"), said.append)
    (tmp_path / "v.VCF").write_text("##fileformat=VCFv4.2\n")
    with pytest.raises(InputError, match=r"v\.VCF holds variants, not sequences; .*legscore variants"):
        gather(yeast_contract(), 80, asked("v.VCF"), said.append)
