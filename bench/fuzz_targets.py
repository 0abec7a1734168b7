"""What `fuzz.py` feeds damaged files to: every reader, importer, loader and parser, through the command line
where there is one."""

from __future__ import annotations

import gzip
import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fuzz_mutate as damage
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from legscore.dna.constructs import YEAST_CONSTRUCT
from legscore.dna.contract import Contract, Output
from legscore.errors import LegscoreError, printable
from legscore.model.architecture import Architecture
from legscore.model.checkpoint import Checkpoint
from legscore.system.resources import folder


@dataclass(frozen=True)
class Target:
    """Damaged files of one kind. `seeds`: good ones; `run(path)`: what is done with a damaged one, in
    `world`. Targets of one `kind` (by default of
    their own) take turns; a kind gets `share` inputs in each round."""

    name: str
    suffix: str
    seeds: tuple[bytes, ...]
    mutate: damage.Mutate
    run: Callable[[Path], object]
    kind: str = ""
    share: int = 1


def command(*args: object, keep: bool = False) -> None:
    """A command of legscore in this process, through its entry point: SystemExit with its code, or nothing.

    Args:
        keep: leave the output of an earlier call where it is, instead of removing it first.
    """
    from legscore.cli import main

    for at, word in enumerate(args):
        if word == "-o" and not keep:
            for old in (Path(str(args[at + 1])), Path(f"{args[at + 1]}.run.json")):
                old.unlink(missing_ok=True)
    sys.argv = ["legscore", *map(str, args)]
    main()


def tiny_checkpoint() -> Checkpoint:
    """The smallest LegNet that has every part."""
    contract = Contract(
        "AGCT",
        (*"AGCT", "is_reverse", "is_singleton"),
        0.25,
        rc_trained=True,
        output=Output("bins", "bin", 0.0, 17.0, 4.0),
        **YEAST_CONSTRUCT,
    )
    architecture = Architecture(
        6, (4, 4), (8,), 3, 3, 2, "bilinear", (2,), (2,), "concat", "x,fx", "silu", (1,), "bins", 18
    )
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.uniform(0.5, 1.0, shape).astype(np.float32) for name, shape in architecture.shapes().items()
    }
    return Checkpoint("legscore", architecture, contract, arrays)


def table(rows: int = 24) -> pa.Table:
    rng = np.random.default_rng(1)
    texts = ["".join(rng.choice(list("ACGT"), 80)) for _ in range(rows)]
    return pa.table(
        {
            "id": [f"v{i}" for i in range(rows)],
            "sequence": texts,
            "offset": rng.integers(0, 80, rows),
            "alt_base": list("ACGT") * (rows // 4),
            "weight": rng.normal(size=rows),
            "tags": [[1, 2]] * rows,
            "gene": pa.array(["a", "b", None, "c"] * (rows // 4)).dictionary_encode(),
        }
    )


def parquet(**options: Any) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table(), sink, **options)
    return sink.getvalue()


def arrow(*, stream: bool, compression: str | None = None) -> bytes:
    sink, rows = io.BytesIO(), table()
    options = pa.ipc.IpcWriteOptions(compression=compression)
    make = pa.ipc.new_stream if stream else pa.ipc.new_file
    with make(sink, rows.schema, options=options) as writer:
        writer.write_table(rows, max_chunksize=10)
    return sink.getvalue()


def separated(delimiter: str) -> bytes:
    rows = table().select(["id", "sequence", "offset", "alt_base"]).to_pylist()
    lines = [delimiter.join(rows[0]), *(delimiter.join(map(str, row.values())) for row in rows)]
    return ("\n".join(lines) + "\n").encode()


def contig() -> str:
    return "".join(np.random.default_rng(2).choice(list("ACGT"), 900))


GTF = "".join(
    f'1\tt\t{kind}\t{start}\t{end}\t.\t{strand}\t.\tgene_id "{gene}"; gene_biotype "protein_coding";{extra}\n'
    for gene, start, end, strand in (("A", 301, 600, "+"), ("B", 100, 280, "-"))
    for kind, extra in (
        ("gene", ""),
        ("transcript", f' transcript_id "{gene}.t";'),
        ("exon", f' transcript_id "{gene}.t";'),
    )
)
GFF = "".join(
    f"1\tt\tgene\t{start}\t{end}\t.\t{strand}\t.\tID=gene:{gene};biotype=protein_coding\n"
    f"1\tt\tmRNA\t{start}\t{end}\t.\t{strand}\t.\tID=transcript:{gene}.t;Parent=gene:{gene}\n"
    f"1\tt\texon\t{start}\t{end}\t.\t{strand}\t.\tParent=transcript:{gene}.t\n"
    for gene, start, end, strand in (("A", 301, 600, "+"), ("B", 100, 280, "-"))
)


def vcf() -> str:
    text = contig()
    head = '##fileformat=VCFv4.2\n##contig=<ID=1,length=900>\n##FORMAT=<ID=GT,Number=1,Type=String,Description="g">\n'
    head += '##INFO=<ID=END,Number=1,Type=Integer,Description="e">\n##ALT=<ID=DEL,Description="d">\n'
    head += "#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\tS1\tS2\n"
    rows = [(at, text[at - 1], "A,C" if text[at - 1] in "GT" else "G,T") for at in (230, 255, 290, 296)]
    rows += [(270, text[269:273], text[269]), (275, text[274], text[274] + "GAT"), (280, text[279], "<DEL>")]
    return head + "".join(
        f"1\t{at}\trs{at}\t{ref}\t{alt}\t.\tPASS\t.\tGT\t0|1\t1|1\n" for at, ref, alt in sorted(rows)
    )


def targets(world: Path) -> list[Target]:
    """All targets; the good files that they lean on are written into `world`."""
    import pysam

    tiny_checkpoint().save(world / "model.safetensors")
    model = (world / "model.safetensors").read_bytes()
    (world / "g.fa").write_text(f">1\n{contig()}\n")
    pysam.faidx(str(world / "g.fa"))
    (world / "g.gtf").write_text(GTF)
    (world / "t.bed").write_text("1\t200\t280\ta\t0\t+\n1\t250\t330\tb\t0\t-\n")
    (world / "v.vcf").write_text(vcf())
    with (
        pysam.VariantFile(str(world / "v.vcf")) as old,
        pysam.VariantFile(str(world / "v.bcf"), "wb", header=old.header) as new,
    ):
        for record in old:
            new.write(record)
    pysam.tabix_compress(str(world / "v.vcf"), str(world / "v.vcf.gz"), force=True)
    pysam.tabix_compress(str(world / "g.fa"), str(world / "p.fa.gz"), force=True)
    out = world / "out.parquet"
    to_table = ("-o", out, "-q")
    genome = ("--fasta", world / "g.fa")

    def scored(path: Path) -> None:
        command("run", path, "-m", world / "model.safetensors", "--engine", "null", *to_table)

    def as_text(path: Path) -> None:
        command(
            "run", path, "-m", world / "model.safetensors", "--engine", "null", "-o", world / "out.tsv", "-q"
        )

    def built(*more: object) -> Callable[[Path], None]:
        return lambda path: command("variants", path, *genome, *more, *to_table)

    def fasta(path: Path) -> None:
        Path(f"{path}.fai").unlink(missing_ok=True)
        command("variants", "--fasta", path, "--tiles", world / "t.bed", *to_table)

    def index(path: Path) -> None:
        (world / "i.fa").write_bytes((world / "g.fa").read_bytes())
        path.replace(world / "i.fa.fai")
        command("variants", "--fasta", world / "i.fa", "--tiles", world / "t.bed", *to_table)

    bed, promoters = ("--tiles", world / "t.bed"), ("--promoters", world / "g.gtf")
    fa = "".join(
        f">{name} some text\n{row}\n"
        for name, row in zip("abcd", table()["sequence"].to_pylist(), strict=False)
    ).encode()
    zipped = damage.inside_gzip(damage.text)
    found = [
        Target("parquet", ".parquet", (
            parquet(), parquet(compression="zstd", row_group_size=7, use_dictionary=False), parquet(compression="gzip", data_page_version="2.0"),
            parquet(use_dictionary=False, compression="none", column_encoding={"sequence": "DELTA_BYTE_ARRAY", "id": "DELTA_LENGTH_BYTE_ARRAY"}),
        ), damage.anywhere, scored),
        Target("arrow", ".arrow", (arrow(stream=False), arrow(stream=False, compression="zstd"), arrow(stream=True), arrow(stream=True, compression="lz4")),
               damage.anywhere, scored),
        Target("csv", ".csv", (separated(","),), damage.text, as_text),
        Target("tsv.gz", ".tsv.gz", (gzip.compress(separated("\t")),), zipped, scored),
        Target("fasta", ".fa", (fa,), damage.text, scored),
        Target("fasta.gz", ".fa.gz", (gzip.compress(fa),), zipped, as_text),
        Target("checkpoint", ".safetensors", (model,), damage.safetensors, lambda path: command("show", path)),
        Target("checkpoint scored", ".safetensors", (model,), damage.safetensors,
               lambda path: command("run", world / "few.csv", "-m", path, "--engine", "null", *to_table)),
        Target("genome", ".fa", ((world / "g.fa").read_bytes(),), damage.text, fasta),
        Target("genome.gz", ".fa.gz", ((world / "p.fa.gz").read_bytes(),), damage.inside_gzip(damage.text, damage.bgzip), fasta),
        Target("genome index", ".fai", ((world / "g.fa.fai").read_bytes(),), damage.text, index),
        Target("vcf", ".vcf", (vcf().encode(),), damage.text, built(*bed)),
        Target("vcf haplotypes", ".vcf", (vcf().encode(),), damage.text, built(*bed, "--haplotypes", "--samples", "all")),
        Target("vcf.gz", ".vcf.gz", ((world / "v.vcf.gz").read_bytes(),), damage.inside_gzip(damage.text, damage.bgzip), built(*promoters)),
        Target("bcf", ".bcf", ((world / "v.bcf").read_bytes(),), damage.inside_gzip(damage.anywhere, damage.bgzip), built(*bed)),
        Target("gtf", ".gtf", (GTF.encode(),), damage.text, lambda path: command("variants", *genome, "--promoters", path, *to_table)),
        Target("gff3", ".gff3", (GFF.encode(),), damage.text, lambda path: command("variants", *genome, "--promoters", path, *to_table)),
        Target("bed", ".bed", ((world / "t.bed").read_bytes(),), damage.text, lambda path: command("variants", *genome, "--tiles", path, *to_table)),
        Target("starts", ".tsv", (b"gene\ttss\nA\t290\nB\t282\n",), damage.text,
               lambda path: command("variants", *genome, *promoters, "--tss", path, *to_table)),
        Target("engine recipe", ".toml", tuple(path.read_bytes() for path in sorted(folder("engines").glob("*.toml"))), damage.text,
               lambda path: _quietly(_engine_recipe, path)),
        Target("training recipe", ".toml", (_training_recipe(),), damage.text, lambda path: _quietly(_recipe, path)),
        Target("fidelity record", ".json", (_fidelity(world),), damage.json_file, lambda path: _quietly(_fidelity_read, path)),
        Target("plan", ".plan", (_plan(world),), damage.anywhere, lambda path: _quietly(_plan_read, path)),
    ]  # fmt: skip
    (world / "few.csv").write_text("sequence\nACGT\nACGTA\n")
    return found + _torch_targets(world)


def _torch_targets(world: Path) -> list[Target]:
    try:
        import torch
    except ImportError:
        return []
    from legscore.model.families import PREFIX, upstream_name

    made = tiny_checkpoint()
    state = {
        "model." + upstream_name("F2", n, wrapped=True, bilinear=True): torch.from_numpy(a)
        for n, a in made.arrays.items()
    }
    state[PREFIX["F2"] + "bins"] = torch.arange(18)
    files = []
    for form in (True, False):
        sink = io.BytesIO()
        torch.save(
            {"state_dict": state, "epoch": 1, "hyper_parameters": {"lr": 0.1}},
            sink,
            _use_new_zipfile_serialization=form,
        )
        files.append(sink.getvalue())
    (world / "good.ckpt").write_bytes(files[0])
    answers = ("--final-activation", "silu", "--concat-order", "x,fx", "-o", world / "imported.safetensors")
    config = {
        "model_cfg": {
            "final_activation": "silu", "res_block_type": "concat", "use_reverse_channel": True, "use_single_channel": True, "block_sizes": [4, 4],
            "ks": 3, "filter_per_group": 2, "se_type": "complex",
        },
        "data_cfg": {"reverse_augment": True},
    }  # fmt: skip
    return [
        Target(
            "pytorch",
            ".ckpt",
            tuple(files),
            damage.torch_file,
            lambda path: command("import", path, *answers),
        ),
        Target(
            "import config",
            ".json",
            (json.dumps(config).encode(),),
            damage.json_file,
            lambda path: command("import", world / "good.ckpt", "--config", path, *answers[4:]),
        ),
        Target(
            "saved training",
            ".state",
            (_state(torch),),
            damage.torch_file,
            lambda path: _quietly(_state_read, path),
        ),
    ]


def _quietly(read: Callable[[Path], object], path: Path) -> None:
    """Errors as the command line shows them."""
    try:
        read(path)
    except LegscoreError as error:
        print(f"legscore: {printable(str(error))}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _engine_recipe(path: Path) -> None:
    from legscore.engine.recipe import load_recipe

    load_recipe(str(path))


def _training_recipe() -> bytes:
    return (
        b'preset = "optimized"\nepochs = 4\nmax_lr = 0.005\nwidths = [64, 32, 32]\nse = "plain"\nsingleton_channel = true\n\n[construct]\n'
        + (
            "\n".join(f"{name} = {json.dumps(value)}" for name, value in YEAST_CONSTRUCT.items()) + "\n"
        ).encode()
    )


def _recipe(path: Path) -> None:
    from legscore.train.presets import resolve

    recipe = resolve(None, path)
    recipe.contract()


KEY = {"engine": {"engine": "openvino"}, "models": ["00"]}


def _fidelity(world: Path) -> bytes:
    from legscore.engine.fidelity import Fidelity, save_record

    save_record(world / "f.json", KEY, Fidelity("openvino fp32", 2048, 2048, 0.1, 0.01, 0.99, 0.99))
    return (world / "f.json").read_bytes()


def _fidelity_read(path: Path) -> None:
    from legscore.engine.fidelity import load_record

    found = load_record(path, KEY)
    if found is not None:
        str(found), found.shortfall({"score_pearson_min": 0.9, "effect_spearman_min": 0.9})


def _plan(world: Path) -> bytes:
    from legscore.engine.plans import PlanCache, Stored

    cache = PlanCache(world / "plans")
    cache.write(KEY, Stored(b"machine code" * 20, {"scratch": 4096}))
    return cache.path(KEY).read_bytes()


def _plan_read(path: Path) -> None:
    from legscore.engine.plans import PlanCache

    cache = PlanCache(path.parent / "cached")
    cache.folder.mkdir(exist_ok=True)
    path.replace(cache.path(KEY))
    found = cache.read(KEY)
    if found is not None and found.plan != b"machine code" * 20:
        raise AssertionError("a damaged plan was taken")


class _Trainer:
    """As much of a trainer as `load_state` looks at."""

    device = "cpu"

    def __init__(self, torch: Any, path: Path) -> None:
        self.state_path, self.step, self.loss_sum = path, 3, 0.5
        self.network = torch.nn.Linear(3, 2)
        self.optimizer = torch.optim.AdamW(self.network.parameters())
        self.schedule = torch.optim.lr_scheduler.ConstantLR(self.optimizer)
        self.scaler = torch.amp.GradScaler("cpu", enabled=False)
        self.history: list[Any] = [{"step": 1}]
        self.best: dict[str, Any] | None = None
        self.best_record: dict[str, Any] = {}

    def identity(self) -> dict[str, Any]:
        return {"seed": 1, "recipe": {"epochs": 3}}


def _state(torch: Any) -> bytes:
    import tempfile

    from legscore.train.state import save_state

    with tempfile.TemporaryDirectory() as name:
        save_state(_Trainer(torch, Path(name) / "t.state"))  # type: ignore[arg-type]
        return (Path(name) / "t.state").read_bytes()


def _state_read(path: Path) -> None:
    import torch

    from legscore.train.state import load_state

    load_state(_Trainer(torch, path))  # type: ignore[arg-type]
