"""Fixtures: toy models (random weights, no torch needed), the reference folder, the command line in this
process."""

from __future__ import annotations

import os

# workers share the cores; before anything that counts them is loaded
if "PYTEST_XDIST_WORKER_COUNT" in os.environ:
    os.environ.setdefault(
        "OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"])))
    )

import re
import resource
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from legscore.dna.batch import Batch
from legscore.dna.constructs import HUMAN_CONSTRUCT, YEAST_CONSTRUCT
from legscore.dna.contract import Contract, Output
from legscore.model.architecture import Architecture
from legscore.model.checkpoint import Checkpoint, load_members
from legscore.model.onnx_model import OnnxModel
from legscore.model.student import sealed_student
from legscore.system.extras import EXTRAS as PACKAGES

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"
EXTRAS = ("is_reverse", "is_singleton")
LONG = os.environ.get("LEGSCORE_LONG") == "1"
"""Whether tests marked `long` run too, and others try every fault where they else try some: .ci/full."""
FEW_WINDOWS = "import legscore.engine.fidelity\nlegscore.engine.fidelity.TOTAL = 192\n"
"""What has a process measure fidelity on few windows: 2,048 take most of a minute of a core for three real models."""
BROUGHT = (*PACKAGES, "onnx", "scipy")
"""Packages that the extra [test] brings and a plain installation lacks."""
PUBLISHED: dict[str, dict[str, Any]] = {
    "original.pth": {},
    "optimized.ckpt": {"final_activation": "none", "concat_order": "fx,x"},
    "human.ckpt": {
        "concat_order": "fx,x",
        "alphabet": "AGCT",
        "n_value": 0.25,
        "pools": (2, 2, 2, 2),
        "rc_trained": True,
    },
}
"""Published networks in ../shared/reference, and what their files do not say."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if not LONG and item.get_closest_marker("long"):
            item.add_marker(pytest.mark.skip(reason="takes long: LEGSCORE_LONG=1, as .ci/full does"))


@pytest.fixture(autouse=True, scope="session")
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One cache for a run of pytest: its workers share it, so that each network is compiled and measured once."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    patch = pytest.MonkeyPatch()
    patch.setenv("LEGSCORE_CACHE", str(folder / "cache"))
    yield
    patch.undo()


@pytest.fixture
def few_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure the fidelity of real models on few windows (`FEW_WINDOWS`)."""
    monkeypatch.setattr("legscore.engine.fidelity.TOTAL", 192)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Reference vectors and measured data, where they are."""
    if not SHARED.is_dir():
        pytest.skip("the reference folder ../shared is not here")
    return SHARED


def yeast_contract(**changes: Any) -> Contract:
    values: dict[str, Any] = {
        "alphabet": "AGCT", "channels": (*"AGCT", *EXTRAS), "n_value": 0.25, "rc_trained": True,
        "output": Output("bins", "bin", 0.0, 17.0, 4.0), **YEAST_CONSTRUCT,
    }  # fmt: skip
    values.update(changes)
    return Contract(**values)


def human_contract(**changes: Any) -> Contract:
    values: dict[str, Any] = {
        "alphabet": "AGCT", "channels": tuple("AGCT"), "n_value": 0.25, "rc_trained": True,
        "output": Output("scalar", "log2"), **HUMAN_CONSTRUCT,
    }  # fmt: skip
    values.update(changes)
    return Contract(**values)


def toy_architecture(**changes: Any) -> Architecture:
    """A small network; `changes` may switch anything, widths of gates follow."""
    values: dict[str, Any] = {
        "in_channels": 6, "widths": (16, 8, 8), "inner_widths": (32, 32), "stem_kernel": 7, "kernel": 5, "filters_per_group": 2,
        "se": "bilinear", "residual": "concat", "concat_order": "x,fx", "final_activation": "silu", "pools": (1, 1),
        "head": "bins", "outputs": 18,
    }  # fmt: skip
    values.update(changes)
    blocks = len(values["widths"]) - 1
    values.setdefault("se_widths", tuple(4 if values["se"] != "none" else 0 for _ in range(blocks)))
    values.setdefault("cp_ranks", tuple(5 if values["se"] == "bilinear" else 0 for _ in range(blocks)))
    if values["residual"] != "concat":
        values["concat_order"] = ""
    return Architecture(**values)


def toy_arrays(architecture: Architecture, seed: int) -> dict[str, np.ndarray]:
    """Random weights that keep activations near unit size, so that scores vary."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for name, shape in architecture.shapes().items():
        leaf = name.rsplit(".", 1)[1]
        if leaf == "running_var":
            arrays[name] = rng.uniform(0.5, 1.5, shape)
        elif leaf in ("running_mean", "bias"):
            arrays[name] = rng.normal(0, 0.2, shape)
        elif "norm" in name:
            arrays[name] = rng.uniform(0.7, 1.3, shape)
        else:
            fan_in = int(np.prod(shape[1:])) if len(shape) > 1 else 1
            gain = 2.5 if name == "head.conv.weight" else 1.4
            arrays[name] = rng.normal(0, gain / np.sqrt(fan_in), shape)
    return {name: array.astype(np.float32) for name, array in arrays.items()}


def toy_checkpoint(seed: int = 0, contract: Contract | None = None, **changes: Any) -> Checkpoint:
    contract = contract or yeast_contract()
    changes.setdefault("in_channels", len(contract.channels))
    if contract.output.kind == "scalar":
        changes.setdefault("head", "scalar")
        changes.setdefault("outputs", 1)
        changes.setdefault("final_activation", "none")
    architecture = toy_architecture(**changes)
    return Checkpoint("legscore", architecture, contract, toy_arrays(architecture, seed))


_AGREEMENT = dict.fromkeys(("pearson", "spearman", "rmse", "slope", "worst_decile_rmse"), 0.9)
STUDENT_RECORD: dict[str, Any] = {
    "cost": 20.0,
    "outputs": ["mean"],
    "fidelity": {"groups": 10, "levels": _AGREEMENT, "effects": _AGREEMENT, "baselines": []},
    "cascade": {"top": 0.01, "tiles": 50, "recall": [[0.01, 0.5, 0.4, 0.6], [0.1, 0.9, 0.8, 0.95]]},
}


def example_script(name: str) -> ModuleType:
    """A script of examples/ as a module."""
    spec = spec_from_file_location(name, REPOSITORY / f"examples/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_student(
    models: Path, path: Path, insert: int = 80, *, tells_sd: bool = False, **changes: Any
) -> Path:
    """A student of these models, as a distillation would have sealed it; its weights are another's.

    Args:
        tells_sd: with a second head, which is another network's first.
    """
    teacher = [{"name": m.name, "sha256": m.sha256} for m in load_members([models])]
    contract = yeast_contract().cropped(insert, 8)
    student = toy_checkpoint(0, contract)
    if tells_sd:
        other = toy_checkpoint(1, contract).arrays
        beside = {f"sd_{name}": array for name, array in other.items() if name.startswith("head.")}
        student = replace(student, arrays={**student.arrays, **beside})
    sealed_student(student, {"teacher": teacher, **STUDENT_RECORD, **changes}).save(path)
    return path


@pytest.fixture(scope="session")
def toy_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of three members of one ensemble."""
    folder = tmp_path_factory.mktemp("models")
    for seed in range(3):
        toy_checkpoint(seed).save(folder / f"member{seed}.safetensors")
    return folder


@pytest.fixture(scope="session")
def toy_model(toy_models: Path) -> Path:
    return toy_models / "member0.safetensors"


def parsed(model: OnnxModel) -> Any:
    """The model as the onnx package reads it, found right by its checker."""
    onnx = pytest.importorskip("onnx", reason="looking into graphs needs onnx (legscore[test])")
    message = onnx.load_from_string(model.to_bytes())
    onnx.checker.check_model(message, full_check=True)
    return message


def skip_without(package: str) -> None:
    """Skip the running test where a package of an extra is not installed; what is installed must work."""
    if package in BROUGHT and find_spec(package) is None:
        pytest.skip(lacking(package))


def lacking(package: str) -> str:
    return f"{package} is not installed; pip install 'legscore[test]' brings it"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Generator[None, Any, pytest.CollectReport]:
    """A module of tests that imports a package which is not installed is skipped, with the reason."""
    report = yield
    wanting = re.search(r"^E +ModuleNotFoundError: No module named '(\w+)", str(report.longrepr), re.M)
    if report.failed and wanting and wanting[1] in BROUGHT and find_spec(wanting[1]) is None:
        report.outcome, report.longrepr = "skipped", (str(collector.path), 0, lacking(wanting[1]))
    return report


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, Any, Any]:
    """So is a test that calls what needs one."""
    try:
        return (yield)
    except ImportError as error:
        skip_without((error.name or "").partition(".")[0])
        raise


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


def one_line(ran: Ran, *words: str) -> None:
    """It ended with exit code 2 and one short line that holds the words, without a traceback."""
    assert ran.code == 2, ran.err
    last = ran.err.strip().splitlines()[-1]
    assert last.startswith("legscore: ")
    assert "Traceback" not in ran.err
    assert len(last) < 600
    for word in words:
        assert word in last


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run `legscore ARGS` in this process, through the real entry point; a bound of `--memory` ends with it."""

    def run(*args: object) -> Ran:
        from legscore.cli import main
        from legscore.system import cores, memory

        monkeypatch.setattr(sys, "argv", ["legscore", *map(str, args)])
        capfd.readouterr()
        bound = resource.getrlimit(resource.RLIMIT_DATA)
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            resource.setrlimit(resource.RLIMIT_DATA, bound)
            memory._held = None
            cores._told = None
        out, err = capfd.readouterr()
        if missing := re.search(r"^legscore: (\w+) is not installed; pip install 'legscore\[", err, re.M):
            skip_without(missing[1])
        return Ran(code, out, err)

    return run


def in_parts_of(patch: pytest.MonkeyPatch, rows: int) -> None:
    """Have runs cut their input into parts of so many rows, where no --part-rows is given: for tests of what the
    command line does by itself. From Python: `Options(part_rows=)`."""
    patch.setattr("legscore.run.prepare.part_rows", lambda members, engine="": rows)


def opened_by(patch: pytest.MonkeyPatch, opener: Callable[..., Any]) -> None:
    """Have runs of the command line open their engine by `opener(members, request, say)`. From Python:
    `score(opener=)`."""
    patch.setattr("legscore.run.open_engines.open_engine", opener)


def scored_by(patch: pytest.MonkeyPatch, engine: Callable[[Any], Any]) -> None:
    """Have runs of the command line score with `engine(members)`."""
    opened_by(patch, lambda members, request, say: engine(members))


def random_dna(rng: np.random.Generator, length: int, letters: str = "ACGT") -> str:
    return "".join(rng.choice(list(letters), length))


def measured(rows: int, seed: int = 0) -> pa.Table:
    """Oligos whose expression follows their GC content, every seventh a whole number, with read counts."""
    rng = np.random.default_rng(seed)
    contract = yeast_contract()
    texts = [
        contract.adapter5 + random_dna(rng, int(n)) + contract.adapter3 for n in rng.integers(70, 90, rows)
    ]
    gc = np.array([sum(c in "GC" for c in t) / len(t) for t in texts])
    expression = np.clip(8 + 60 * (gc - gc.mean()) + rng.normal(0, 0.3, rows), 0, 17)
    expression[::7] = np.round(expression[::7])
    return pa.table({"sequence": texts, "expression": expression, "reads": rng.integers(1, 50, rows)})


@pytest.fixture(scope="session")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """400 measured oligos as Parquet."""
    path = tmp_path_factory.mktemp("data") / "measured.parquet"
    pq.write_table(measured(400), path)
    return path


@pytest.fixture(scope="session")
def contig() -> str:
    """The first contig of the toy genome."""
    return random_dna(np.random.default_rng(7), 1200)


@pytest.fixture
def world(tmp_path: Path, contig: str) -> Path:
    """A genome of two contigs, and genes: A on + at 301 (ATG at 331), B on − at 280 (divergent), C on + at
    20, M mitochondrial."""
    (tmp_path / "g.fa").write_text(f">1\n{contig[:700]}\n{contig[700:].lower()}\n>MT\n{'ACGT' * 50}\n")
    rows = []

    def gene(
        name: str,
        chrom: str,
        start: int,
        end: int,
        strand: str,
        cds: tuple[int, int],
        biotype: str = "protein_coding",
    ) -> None:
        text = f'gene_id "{name}"; gene_name "{name.lower()}"; gene_biotype "{biotype}";'
        rows.append((chrom, "t", "gene", start, end, ".", strand, ".", text))
        rows.append(
            (chrom, "t", "transcript", start, end, ".", strand, ".", text + f' transcript_id "{name}.t";')
        )
        rows.append((chrom, "t", "exon", start, end, ".", strand, ".", text + f' transcript_id "{name}.t";'))
        rows.append((chrom, "t", "CDS", *cds, ".", strand, "0", text + f' transcript_id "{name}.t";'))

    gene("A", "1", 301, 600, "+", (331, 600))
    gene("B", "1", 100, 280, "-", (100, 250))
    gene("C", "1", 20, 90, "+", (30, 90))
    gene("R", "1", 900, 990, "+", (900, 990), "rRNA")
    gene("M", "MT", 150, 190, "+", (160, 190))
    (tmp_path / "g.gtf").write_text("#!made\n" + "".join("\t".join(map(str, row)) + "\n" for row in rows))
    (tmp_path / "v.vcf").write_text(
        "##fileformat=VCFv4.2\n##contig=<ID=1,length=1200>\n#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\n"
        f"1\t290\trs1\t{contig[289]}\t{'A' if contig[289] != 'A' else 'C'},{'G' if contig[289] != 'G' else 'T'}\t.\t.\t.\n"
        f"1\t295\t.\t{contig[294]}\t{contig[294]}GATTACA\t.\t.\t.\n"
        f"1\t296\t.\t{contig[295]}\t<DEL>\t.\t.\t.\n"
        f"1\t297\t.\t{'A' if contig[296] != 'A' else 'C'}\tG\t.\t.\t.\n"
        f"1\t1100\t.\t{contig[1099]}\t{'A' if contig[1099] != 'A' else 'C'}\t.\t.\t.\n"
    )
    return tmp_path


def random_batch(windows: int, edits: int, length: int = 150, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        rng.integers(0, 5, (windows, length), dtype=np.uint8),
        rng.integers(0, max(windows, 1), edits).astype(np.int32),
        rng.integers(0, length, edits).astype(np.int16),
        rng.integers(0, 4, edits).astype(np.uint8),
    )
