"""Outputs whose names are taken: every command refuses them in one line that names --force, and replaces them with it."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import REPOSITORY, Ran, one_line, random_dna
from test_generator import toy_generator

import legscore
from legscore.attribute.attribute_files import AttributeOptions, attribute
from legscore.cli import COMMANDS

FOREIGN = b"mine since 1998\n"
GENOME = REPOSITORY / "examples" / "genome"
TILES = ("--fasta", GENOME / "toy.fa", "--tiles", GENOME / "tiles.bed")
YEAST = REPOSITORY / "examples" / "yeast.meme"
RUN = ("run", "t.csv", "-m", "MODEL", "--engine", "null")
VARIANTS = ("variants", GENOME / "toy.vcf", *TILES)
GENOME_RUN = ("run", GENOME / "toy.vcf", "-m", "MODEL", "--engine", "null", *TILES)
EVALUATE = ("evaluate", "p.csv", "--truth", "a", "--prediction", "b")
DESIGN = (
    *("design", "--method", "greedy", "-m", "MODEL", "--target", "3", "--n", "2", "--calls", "300"),
    *("--precision", "fp32"),
)
CURVE = (
    *("design", "--mutation-curve", "--from", "t.csv", "-m", "MODEL", "--mutations", "0:20:10", "--n", "20"),
    *("--precision", "fp32"),
)
TINY = (
    *("--set", "widths=16,16", "--set", "epochs=1", "--set", "steps_per_epoch=4", "--set", "batch=16"),
    *("--set", "kernel=3", "--set", "n_folds=3", "-q"),
)
TRAIN = ("train", "TABLE", *TINY, "-o", "m")
ABLATE = ("ablate", "TABLE", "--only", "original", "--seeds", "1", *TINY, "-o", "m")

CASES: dict[str, tuple[tuple[object, ...], str]] = {
    "run -o": ((*RUN, "-o", "OUT"), "o.parquet"),
    "run -o, text": ((*RUN, "-o", "OUT"), "o.csv.gz"),
    "run -o, folder": ((*RUN, "-o", "OUT/"), "o/notes.txt"),
    "run -o, VCF": ((*GENOME_RUN, "-o", "OUT"), "o.vcf.gz"),
    "run -o, table of variants": ((*GENOME_RUN, "-o", "OUT"), "o.parquet"),
    "run -o, tracks": (("run", "w.parquet", *RUN[2:], "-o", "o.bedgraph"), "o.minus.bedgraph"),
    "run --log-json": ((*RUN, "-o", "new.csv", "--log-json", "OUT"), "log.jsonl"),
    "run --multiqc": ((*RUN, "-o", "new.csv", "--multiqc", "OUT"), "o_mqc.json"),
    "variants -o": ((*VARIANTS, "-o", "OUT"), "o.parquet"),
    "variants -o, text": ((*VARIANTS, "-o", "OUT"), "o.tsv"),
    "merge -o": (("merge", "s1.parquet", "s2.parquet", "-o", "OUT"), "o.parquet"),
    "atlas build -o": (
        ("atlas", "build", *TILES, "-m", "MODEL", "--engine", "null", "-q", "-o", "a"),
        "a/notes.txt",
    ),
    "atlas build --log-json": (
        ("atlas", "build", *TILES, "-m", "MODEL", "--engine", "null", "-q", "-o", "new", "--log-json", "OUT"),
        "log.jsonl",
    ),
    "atlas merge -o": (("atlas", "merge", "shard", "-o", "j"), "j/notes.txt"),
    "atlas background -o": (("atlas", "background", "atlas", "-o", "OUT"), "b.parquet"),
    "lookup -o": (("lookup", GENOME / "toy.vcf", *TILES[:2], "--atlas", "atlas", "-o", "OUT"), "o.parquet"),
    "lookup -o, VCF": (("lookup", GENOME / "toy.vcf", *TILES[:2], "--atlas", "atlas", "-o", "OUT"), "o.vcf.gz"),
    "evaluate --json": ((*EVALUATE, "--json", "OUT"), "e.json"),
    "evaluate --csv": ((*EVALUATE, "--csv", "OUT"), "e.csv"),
    "evaluate --plot": (
        ("evaluate", "q.parquet", "--truth", "a", "--prediction", "score", "--ensemble-curve", "--plot", "OUT"),
        "curve.png",
    ),
    "evaluate -o": (
        ("evaluate", "p.csv", "--truth", "a", "--calibrate", "-o", "OUT"),
        "c.json",
    ),
    "report -o": (("report", "s.csv", "-o", "OUT"), "r.html"),
    "report -o, folder": (("report", "d.csv", "-o", "r/"), "r/notes.txt"),
    "plot ism -o": (("plot", "ism", "i.parquet", "--promoter", "GAL1", "-o", "OUT"), "i.png"),
    "attribute -o": (("attribute", "i.parquet", "-o", "OUT"), "c.npz"),
    "attribute -o, sequences": (("attribute", "i.parquet", "-o", "c.npz"), "c.one_hot.npz"),
    "attribute --tracks": (("attribute", "i.parquet", "-o", "c.npz", "--tracks", "c.bedgraph"), "c.minus.bedgraph"),
    "attribute --bed": (("attribute", "i.parquet", "-o", "c.npz", "--bed", "OUT"), "r.bed"),
    "motifs -o": (("motifs", GENOME / "pairs.csv", "--meme", YEAST, "-o", "OUT"), "m.parquet"),
    "plot logo -o": (("plot", "logo", "a.npz", "-o", "OUT"), "l.pdf"),
    "plot scatter -o": (
        ("plot", "scatter", "p.csv", "--truth", "a", "--prediction", "b", "-o", "OUT"),
        "p.svg",
    ),
    "plot violins -o": (
        ("plot", "violins", "p.csv", "--truth", "a", "--prediction", "b", "--prediction", "c", "--bootstrap", "100", "-o", "OUT"),
        "v.png",
    ),
    "plot ensemble-curve -o": (("plot", "ensemble-curve", "e.json", "-o", "OUT"), "curve.pdf"),
    "plot training -o": (("plot", "training", "seed1.metrics.jsonl", "-o", "OUT"), "t.png"),
    "design -o": ((*DESIGN, "-o", "OUT"), "o.csv"),
    "design -o, FASTA": ((*DESIGN, "-o", "OUT"), "o.fa"),
    "design --fasta-out": ((*DESIGN, "-o", "new.csv", "--fasta-out", "OUT"), "o.fa"),
    "design --report": ((*DESIGN, "-o", "new.csv", "--report", "r"), "r/notes.txt"),
    "design -o, curve": ((*CURVE, "-o", "OUT"), "o.csv"),
    "design --plot": ((*CURVE, "-o", "new.csv", "--plot", "OUT"), "o.png"),
    "bench --json": (("bench", "-m", "MODEL", "--rounds", "1", "-q", "--json", "OUT"), "b.json"),
    "import -o": (("import", "g.pth", "-o", "OUT"), "m.safetensors"),
    "export -o": (("export", "g.safetensors", "-o", "OUT"), "g.pth"),
    "distill -o": (
        ("distill", "-m", "MODEL", "--labels", "400", "--cost", "2", "--steps", "1", "--force-student", "--engine", "torch", "-q", "-o", "OUT"),
        "s.safetensors",
    ),
    "train -o": (TRAIN, "m/seed1.safetensors"),
    "train -o, learning rates": ((*TRAIN, "--lr-find"), "m/lr_find.csv"),
    "ablate -o": (ABLATE, "m/members.csv"),
}  # fmt: skip
"""What is written: the command line, where OUT is the file; and the name that is taken."""
REPLACED_WHOLE = ("run -o, folder", "atlas build -o", "atlas merge -o")
"""Folders that are replaced as one, so that nothing of somebody else's may lie in them."""

READ = {
    *(
        "contributions",
        "inputs",
        "shards",
        "source",
        "folders",
        "file",
        "files",
        "data",
        "paths",
        "scores",
        "evaluation",
    ),
    *("predictions", "runs", "-m", "-g", "--recipe", "--calibration", "--fasta", "--promoters", "--tiles"),
    *("--tss", "--contig-map", "--samples", "--config", "--predictor", "--from", "--construct", "--variants"),
    *(
        "atlas",
        "--atlas",
        "--background",
        "--test",
        "--class-weights",
        "--target",
        "--check",
        "--training",
        "--measured",
        "--own",
        "--labels-from",
        "--teacher-table",
        "--student",
        "--meme",
        "--apart",
    ),
}
"""Arguments and options that are paths to read."""
ADDED_TO = {("train", "--tensorboard"), ("ablate", "--tensorboard")}
"""Folders that TensorBoard's package adds files of new names to."""


def written_by(name: str, command: click.Command) -> Iterator[tuple[str, str]]:
    """Command and option for each path that it writes."""
    if isinstance(command, click.Group):
        for inner, found in command.commands.items():
            yield from written_by(f"{name} {inner}", found)
    for parameter in command.params:
        if isinstance(parameter.type, click.Path) and parameter.opts[0] not in READ:
            yield name, parameter.opts[0]


def test_every_option_that_writes_is_here() -> None:
    written = {
        pair
        for name, (module, _) in COMMANDS.items()
        for pair in written_by(name, importlib.import_module(module).command)
    }
    tested = {tuple(case.split(",")[0].rsplit(" ", 1)) for case in CASES}
    assert written - ADDED_TO == tested


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, toy_model: Path) -> Path:
    """What the commands read."""
    folder, rng = tmp_path_factory.mktemp("made"), np.random.default_rng(3)
    sequences = [random_dna(rng, 80) for _ in range(24)]
    (folder / "t.csv").write_text("sequence\n" + "".join(f"{text}\n" for text in sequences))
    rows = [f"{i % 7},{i % 7 + i % 3},{i % 5}\n" for i in range(200)]
    (folder / "p.csv").write_text("a,b,c\n" + "".join(rows))
    scores = "".join(f"{text},{i / 8},0.1,ok\n" for i, text in enumerate(sequences))
    (folder / "s.csv").write_text("sequence,score,score_sd,status\n" + scores)
    line = '{"step": %d, "loss": 2.0, "lr": 0.1}\n'
    (folder / "seed1.metrics.jsonl").write_text(line % 1 + line % 2)
    toy_generator().save(folder / "g.safetensors")
    for index in (1, 2):
        out = folder / f"s{index}.parquet"
        legscore.score_file(folder / "t.csv", out, models=toy_model, engine="null", shard=f"{index}/2")
    return folder


def saturated(folder: Path, model: Path) -> None:
    """w.parquet: every change of two tiles; i.parquet: its scores."""
    legscore.build_variants(None, folder / "w.parquet", fasta=TILES[1], regions_bed=TILES[3], saturate=True)
    legscore.score_file(folder / "w.parquet", folder / "i.parquet", models=model, precision="fp32")


def attributed(folder: Path, model: Path) -> None:
    """a.npz: contributions."""
    saturated(folder, model)
    attribute(AttributeOptions(str(folder / "i.parquet"), str(folder / "a.npz")), say=lambda line: None)


def members_told(folder: Path, model: Path) -> None:
    """q.parquet: scores of each model; e.json: how well more of them agree with measurements."""
    rng = np.random.default_rng(1)
    of_each = rng.normal(size=(60, 2)).astype(np.float32)
    table = pa.table(
        {
            "a": of_each.sum(1),
            "score": of_each.mean(1),
            "score_per_model": pa.FixedSizeListArray.from_arrays(pa.array(of_each.ravel()), 2),
        }
    )
    pq.write_table(table, folder / "q.parquet")
    legscore.evaluate_predictions(
        folder / "q.parquet", truths="a", predictions="score", curve=True, json=folder / "e.json", bootstrap=0
    )


def effects_of_a_run(folder: Path, model: Path) -> None:
    """p.csv, as a run of 120 pairs wrote it."""
    rng = np.random.default_rng(0)
    pairs = [f"{random_dna(rng, 60)},{random_dna(rng, 60)},{i // 4}\n" for i in range(120)]
    (folder / "pairs.csv").write_text("ref_sequence,alt_sequence,a\n" + "".join(pairs))
    legscore.score_file(folder / "pairs.csv", folder / "p.csv", models=model, precision="fp32", force=True)


def designed(folder: Path, model: Path) -> None:
    """d.csv: designs."""
    legscore.design_sequences(
        folder / "d.csv", target=3.0, models=model, method="greedy", n=2, calls=300, precision="fp32",
        progress=False,
    )  # fmt: skip


def exported(folder: Path, model: Path) -> None:
    """g.pth: a file of the published code."""
    from legscore.cli.export_model import command

    command.main([str(folder / "g.safetensors"), "-o", str(folder / "g.pth")], standalone_mode=False)


def atlas_of(folder: Path, model: Path) -> None:
    """atlas/, and shard/, one of one."""
    from legscore.atlas.make_atlas import build_atlas
    from legscore.atlas.options import AtlasRequest
    from legscore.run.options import Options
    from legscore.variants.options import BuildOptions

    tiles = BuildOptions(str(TILES[1]), regions_bed=str(TILES[3]))
    for name, shard in (("atlas", None), ("shard", "1/1")):
        run = Options((), str(folder / name), [str(model)], engine="null")
        build_atlas(AtlasRequest(run, tiles, shard=shard))


PREPARED = {
    "atlas merge -o": atlas_of,
    "atlas background -o": atlas_of,
    "lookup -o": atlas_of,
    "lookup -o, VCF": atlas_of,
    "run -o, tracks": saturated,
    "plot ism -o": saturated,
    "attribute -o": saturated,
    "attribute -o, sequences": saturated,
    "attribute --tracks": saturated,
    "attribute --bed": saturated,
    "plot logo -o": attributed,
    "evaluate --plot": members_told,
    "plot ensemble-curve -o": members_told,
    "evaluate -o": effects_of_a_run,
    "report -o, folder": designed,
    "import -o": exported,
}
"""What alone reads it makes it."""


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("case", CASES)
def test_a_taken_name(
    case: str, tmp_path: Path, made: Path, table: Path, toy_model: Path, cli: Any, monkeypatch: Any
) -> None:
    if case.split()[0] in ("train", "ablate", "import", "export", "distill"):
        pytest.importorskip("torch", reason=f"legscore {case.split()[0]} needs legscore[train]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("legscore.cli.bench.RUN_S", 0.2)
    monkeypatch.setattr("legscore.measure.hardware.JOB_FLOP", 1e8)
    for path in made.iterdir():
        os.link(path, tmp_path / path.name)
    given, name = CASES[case]
    taken = tmp_path / name
    words = {"OUT": name, "OUT/": f"{Path(name).parent}/", "MODEL": str(toy_model), "TABLE": str(table)}
    arguments = [words.get(str(word), str(word)) for word in given]
    if case in PREPARED:
        PREPARED[case](tmp_path, toy_model)
    taken.parent.mkdir(exist_ok=True)
    taken.write_bytes(FOREIGN)
    before = snapshot(tmp_path)
    ran: Ran = cli(*arguments)
    one_line(ran, str(Path(name).parent) if in_folder(name) else name, "--force")
    assert snapshot(tmp_path) == before
    ran = cli(*arguments, "--force")
    if case in REPLACED_WHOLE:
        one_line(ran, f"{Path(name).parent}/ holds notes.txt, which legscore did not write there")
        assert snapshot(tmp_path) == before
        return
    assert ran.code == 0, ran.err
    assert taken.read_bytes() == FOREIGN if in_folder(name) else taken.read_bytes() != FOREIGN


def in_folder(name: str) -> bool:
    """Whether the output is the folder that the file lies in: what is not a command's own stays there."""
    return name.endswith("notes.txt")
