"""Models and genomes of different organisms: said, and refused where nobody chose the models."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import human_contract, one_line, random_dna, toy_checkpoint

import legscore
from legscore.dna.constructs import HUMAN_ORIGIN
from legscore.dna.contract import Contract
from legscore.errors import InputError
from legscore.variants.contigs import R64_LENGTHS, outside_r64
from legscore.variants.organism import mismatch

YEAST = "Saccharomyces cerevisiae"


def genome(folder: Path, name: str, contigs: dict[str, int]) -> dict[str, Any]:
    """A FASTA of random contigs, and a VCF of one change on the first."""
    rng = np.random.default_rng(2)
    letters = {contig: random_dna(rng, n) for contig, n in contigs.items()}
    text = "".join(f">{contig}\n{sequence}\n" for contig, sequence in letters.items())
    (folder / f"{name}.fa").write_text(text)
    first = next(iter(contigs))
    ref = letters[first][999]
    header = (
        "##fileformat=VCFv4.2\n"
        + f"##contig=<ID={first}>\n"
        + "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
    )
    alt = "C" if ref != "C" else "G"
    (folder / f"{name}.vcf").write_text(f"{header}{first}\t1000\t.\t{ref}\t{alt}\t.\t.\t.\n")
    return {"vcf": folder / f"{name}.vcf", "fasta": folder / f"{name}.fa"}


@pytest.fixture
def human(tmp_path: Path) -> dict[str, Any]:
    return genome(tmp_path, "human", {f"chr{n}": 3000 for n in (*range(1, 23), "X", "Y")} | {"chrM": 16_569})


@pytest.fixture
def yeast(tmp_path: Path) -> dict[str, Any]:
    return genome(tmp_path, "yeast", {"chrI": R64_LENGTHS["I"]})


def test_bundled_models_are_not_taken_for_another_genome(
    tmp_path: Path, human: dict[str, Any], cli: Any
) -> None:
    given = ("run", human["vcf"], "--fasta", human["fasta"], "--centered", "-o", tmp_path / "o.parquet")
    ran = cli(*given)
    one_line(ran, "human.fa", f"bundled models are of {YEAST}", "-m bundled")
    assert not (tmp_path / "o.parquet").exists()
    with pytest.raises(InputError, match="models='bundled'"):
        legscore.score_genome(human["vcf"], tmp_path / "o.parquet", fasta=human["fasta"], centered=True)
    ran = cli(*given, "-m", "bundled", "--precision", "fp32", "--engine", "openvino", "--verify", 0)
    assert ran.code == 0, ran.err
    assert f"warning: {human['fasta']}: its contigs are not those of {YEAST}" in ran.err
    assert pq.read_table(tmp_path / "o.parquet")["status"].to_pylist() == ["ok"]
    # zeros are nobody's scores
    ran = cli(*given[:-1], tmp_path / "null.parquet", "--engine", "null")
    assert ran.code == 0, ran.err
    assert f"the models are of {YEAST}, complex medium" in ran.err


def test_tables_remember_the_genome_they_were_made_from(
    tmp_path: Path, human: dict[str, Any], yeast: dict[str, Any], cli: Any
) -> None:
    for made, code in ((human, 2), (yeast, 0)):
        table = tmp_path / f"{made['fasta'].stem}.parquet"
        legscore.build_variants(made["vcf"], table, fasta=made["fasta"], centered=True)
        ran = cli("run", table, "-o", tmp_path / f"{code}.parquet", "--precision", "fp32", "--verify", 0)
        assert ran.code == code, ran.err
    assert ran.err.splitlines()[0].startswith(f"models: 3 bundled for demonstration ({YEAST}, complex medium")
    assert "warning" not in ran.err


def test_the_right_genome_needs_no_model(tmp_path: Path, yeast: dict[str, Any], cli: Any) -> None:
    given = ("run", yeast["vcf"], "--fasta", yeast["fasta"], "--centered", "--engine", "null")
    ran = cli(*given, "-o", tmp_path / "o.parquet")
    assert ran.code == 0, ran.err
    assert ran.err.splitlines()[0].startswith(f"models of: {YEAST}, complex medium (YPD), GPRA")
    assert "warning" not in ran.err
    ran = cli(*given, "--length", 200, "-o", tmp_path / "long.parquet")
    assert (
        f"warning: tiles of 200 bases: the models ({YEAST}, complex medium (YPD), GPRA) read inserts of 1-137"
        in ran.err
    )
    toy_checkpoint(0, human_contract(**HUMAN_ORIGIN)).save(tmp_path / "human.safetensors")
    ran = cli(*given, "-m", tmp_path / "human.safetensors", "-o", tmp_path / "h.parquet")
    assert ran.code == 0, ran.err
    assert f"its contigs are those of {YEAST}, and the models are of Homo sapiens" in ran.err


def test_what_cannot_be_told_is_not_claimed() -> None:
    def fits(contract: Contract, contigs: dict[str, int]) -> bool:
        return mismatch(contigs, contract) is None

    mouse = {"chr1": 195_154_279}
    assert fits(human_contract(), mouse), "an old checkpoint does not say what it is of"
    assert fits(human_contract(), {"I": R64_LENGTHS["I"]})
    assert fits(human_contract(**HUMAN_ORIGIN), mouse), "only yeast's contigs are known"
    assert not fits(human_contract(**HUMAN_ORIGIN), {"I": R64_LENGTHS["I"]})
    assert not fits(human_contract(organism=YEAST), mouse)


@pytest.mark.parametrize("form", ["t.pq", "t.arrow", "folder", "pattern", "link", "second"])
def test_tables_of_another_genome_are_known_in_every_form(
    tmp_path: Path, human: dict[str, Any], yeast: dict[str, Any], cli: Any, form: str
) -> None:
    """The contigs are in the metadata of Parquet and Arrow tables, whatever they are called."""
    ending = ".arrow" if form == "t.arrow" else ".parquet"
    tables = {}
    for name, made in (("human", human), ("yeast", yeast)):
        tables[name] = tmp_path / f"{name}{ending}"
        given = ("variants", made["vcf"], "--fasta", made["fasta"], "--centered", "-o", tables[name])
        assert cli(*given).code == 0
    inside = tmp_path / "folder"
    inside.mkdir()
    (inside / tables["human"].name).write_bytes(tables["human"].read_bytes())
    (tmp_path / "t.pq").write_bytes(tables["human"].read_bytes())
    (tmp_path / "t.arrow").write_bytes(tables["human"].read_bytes())
    (tmp_path / "link").symlink_to(tables["human"])
    inputs = {
        "folder": [f"{inside}/"],
        "pattern": [f"{inside}/*"],
        "second": [tables["yeast"], tables["human"]],
    }
    ran = cli("run", *inputs.get(form, [tmp_path / form]), "-o", tmp_path / "o.parquet")
    one_line(ran, f"bundled models are of {YEAST}", "-m bundled")
    assert not (tmp_path / "o.parquet").exists()


@pytest.mark.usefixtures("few_windows")
@pytest.mark.parametrize(
    "form", ["csv", "tsv", "csv.gz", "bare.parquet", "bare.arrow", "bare.arrows", "python"]
)
def test_tables_without_contigs_are_known_by_where_their_rows_lie(
    tmp_path: Path, human: dict[str, Any], yeast: dict[str, Any], cli: Any, form: str
) -> None:
    """Text has no metadata, and other programs drop that of Parquet and Arrow."""
    for name, made, place in (
        ("human", human, "chr17:1,000"),
        ("long", human, "chr1:230,219"),
        ("yeast", yeast, None),
    ):
        table = tmp_path / f"{name}.{form}"
        written = table if "bare" not in form and form != "python" else tmp_path / f"{name}.parquet"
        given = ("variants", made["vcf"], "--fasta", made["fasta"], "--centered", "-o", written)
        assert cli(*given, "--force").code == 0
        _move_rows(written, table, None if place is None else place.replace(",", "").split(":"))
        if form == "python":
            moved = pq.read_table(table)
            if place is None:
                assert legscore.score_table(moved).read_all()["status"].to_pylist() == ["ok"]
            else:
                with pytest.raises(InputError, match=f"{place}.*bundled models are of {YEAST}"):
                    legscore.score_table(moved)
            continue
        ran = cli("run", table, "-o", tmp_path / f"{name}.scored.parquet", "--precision", "fp32")
        if place is None:
            assert ran.code == 0, ran.err
            assert "warning" not in ran.err
            continue
        one_line(ran, table.name, f"a row at {place}", f"bundled models are of {YEAST}", "-m bundled")
        ran = cli("run", table, "-o", tmp_path / f"{name}.null.parquet", "--engine", "null")
        assert ran.code == 0, ran.err
        assert f"warning: {table}: it has a row at {place}" in ran.err


def _move_rows(made: Path, table: Path, place: list[str] | None) -> None:
    """Write the one row of a table again without metadata, elsewhere on the genome."""
    if "parquet" not in made.name:
        read = gzip.open if made.suffix == ".gz" else open
        with read(made, "rt") as stream:
            header, row = stream.read().splitlines()
        mark = "\t" if ".tsv" in made.name else ","
        values = dict(zip(header.split(mark), row.split(mark), strict=True))
        values |= dict(zip(("chrom", "pos"), place or (), strict=False))
        with read(table, "wt") as stream:
            stream.write(f"{header}\n{mark.join(values.values())}\n")
        return
    frame = pq.read_table(made).replace_schema_metadata(None)
    if place:
        for name, value in (("chrom", place[0]), ("pos", int(place[1]))):
            frame = frame.set_column(frame.column_names.index(name), name, pa.array([value]))
    if table.name.endswith("arrow"):
        with pa.ipc.new_file(table, frame.schema) as writer:
            writer.write_table(frame)
    elif table.name.endswith("arrows"):
        with pa.ipc.new_stream(table, frame.schema) as writer:
            writer.write_table(frame)
    else:
        pq.write_table(frame, table)


def test_yeast_tables_with_other_contigs_are_not_refused() -> None:
    assert outside_r64({}) is None
    assert outside_r64({"chrXVI": 948_066, "2-micron": 6_318}) is None
    assert outside_r64({"16": 948_066, "NC_001133.9": 1}) is None
    assert outside_r64({"chrXVI": 948_067}) == "chrXVI:948,067"
    assert outside_r64({"chr21": 1, "chr22": 2}) == "chr21:1"


def test_a_link_to_models_that_are_gone_is_not_the_bundled_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, yeast: dict[str, Any], cli: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("bundled").symlink_to("unmounted")
    given = ("run", yeast["vcf"], "--fasta", yeast["fasta"], "--centered", "-m", "bundled", "-o", "o.parquet")
    ran = cli(*given)
    assert ran.code == 2, ran.err
    assert "bundled" in ran.err.splitlines()[-1]
    assert not Path("o.parquet").exists()
