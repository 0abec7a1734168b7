"""Engine torch on a CPU device: the code that runs on a card, its precisions, edits, strands, groups, devices."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import REPOSITORY, human_contract, random_batch, toy_checkpoint

pytest.importorskip("torch", reason="the torch engine needs legscore[train]")

import torch

from legscore.cuda import launches
from legscore.cuda.card import CardError
from legscore.dna.batch import Batch
from legscore.dna.one_hot import strands
from legscore.engine import fidelity as fid
from legscore.engine import open_engine, reference, torch_devices, torch_engine
from legscore.engine.card_engine import Cards
from legscore.engine.choose import Request
from legscore.engine.recipe import Recipe, load_recipe
from legscore.engine.torch_card import TorchCard
from legscore.engine.torch_engine import TorchEngine
from legscore.engine.torch_network import TorchForm, TorchNetwork
from legscore.errors import EngineError, ModelError
from legscore.model.checkpoint import Checkpoint, load_checkpoint
from legscore.model.forward import Forward
from legscore.model.gpu_form import TORCH_GROUPS

CPU = torch.device("cpu")
BUNDLED = [
    path for path in sorted((REPOSITORY / "examples").rglob("*.safetensors")) if "generator" not in path.name
]
KINDS: dict[str, dict[str, Any]] = {
    "yeast": {},
    "human": {"contract": human_contract(), "pools": (2, 2), "se": "plain", "filters_per_group": 1},
    "added": {"residual": "add", "widths": (16, 16, 16)},
    "alone": {"residual": "none", "se": "none", "final_activation": "none"},
    "fx first": {"concat_order": "fx,x", "final_activation": "none"},
}


def recipe(precision: str = "fp32", **changes: Any) -> Recipe:
    """The recipe of a precision, its [torch] changed, without Triton."""
    plain = load_recipe(precision)
    table = {**plain.settings["torch"], "batch": [64], "kernels": "torch", **changes}
    return replace(plain, settings={**plain.settings, "torch": table})


@pytest.fixture(scope="module")
def members() -> list[Checkpoint]:
    return [toy_checkpoint(seed) for seed in range(3)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("groups", TORCH_GROUPS[:3])
def test_the_network_equals_the_published_one(kind: str, groups: str) -> None:
    """Every switch of the architecture, each way to write the grouped convolution; FP16 within its rounding."""
    member = toy_checkpoint(3, **KINDS[kind])
    codes = random_batch(6, 0, length=member.contract.length).codes_WL
    truth = Forward(member, both_strands=False, is_singleton=True).score(codes)
    x = torch.from_numpy(strands(codes, member.contract, both=False, is_singleton=True))
    for precision, tolerance in (("fp32", 2e-5), ("fp16", 5e-3)):
        found = TorchNetwork(member, TorchForm(precision, groups), CPU)(x).detach().numpy()
        assert np.abs(found - truth).max() < tolerance


@pytest.mark.parametrize(
    "path",
    [BUNDLED[0], *(pytest.param(path, marks=pytest.mark.long) for path in BUNDLED[1:])],
    ids=lambda path: path.stem,
)
def test_fp16_is_close_to_fp32_for_every_bundled_model(path: Path) -> None:
    member, minimum = load_checkpoint(path), load_recipe("fp16").settings["fidelity"]
    batch = fid.probe(member.contract, fid.LEAST, 0)
    scores = []
    for precision in ("fp16", "fp32"):
        engine = TorchEngine([member], recipe(precision), both_strands=False, device="cpu")
        scores.append(engine.score(batch)[0])
        engine.close()
    assert fid.compare([(scores[0], scores[1])], "torch fp32").shortfall(minimum) == ""
    assert (scores[0] != scores[1]).any(), "FP16 was not used"


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("both", [True, False])
def test_edits_strands_and_passes_equal_the_plain_pass(
    members: list[Checkpoint], precision: str, both: bool
) -> None:
    """Edits that cross passes, a short last pass, members chosen in any order: each window as if it were alone."""
    engine = TorchEngine(members, recipe(precision), both_strands=both, is_singleton=True, device="cpu")
    batch = random_batch(41, 70)
    scores = engine.score(batch)
    assert scores.shape == (3, 111)
    expanded = engine.score(Batch(batch.expand()))
    assert (scores == expanded).all()
    assert (engine.score(batch, [2, 0, 2]) == scores[[2, 0, 2]]).all()
    alone = engine.score(Batch(batch.expand()[100:101]))
    assert np.abs(alone[:, 0] - scores[:, 100]).max() < (1e-5 if precision == "fp32" else 2e-3)
    assert engine.score(Batch(np.empty((0, 150), np.uint8))).shape == (3, 0)
    for m, member in enumerate(members):
        truth = Forward(member, both_strands=both, is_singleton=True).score(batch.expand())
        assert np.abs(truth - scores[m]).max() < (2e-5 if precision == "fp32" else 5e-3)
    engine.close()


def test_switches_stay_off_until_the_last_thread_has_scored() -> None:
    """They are the process's: an engine on another GPU may end a pass while this one is at its own."""
    switches = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [backend.allow_tf32 for backend in switches]
    try:
        for backend in switches:
            backend.allow_tf32 = True
        with torch_devices.exact:
            with torch_devices.exact:
                pass
            assert [backend.allow_tf32 for backend in switches] == [False, False]
        assert [backend.allow_tf32 for backend in switches] == [True, True]
        with pytest.raises(ValueError, match="a pass that fails"), torch_devices.exact:
            raise ValueError("a pass that fails")
        assert [backend.allow_tf32 for backend in switches] == [True, True]
    finally:
        for backend, was in zip(switches, before, strict=True):
            backend.allow_tf32 = was


def test_members_in_groups_and_several_devices_give_the_same(members: list[Checkpoint]) -> None:
    one = TorchEngine(members, recipe(), both_strands=True, device="cpu")
    batches = [random_batch(30 + 11 * i, 20 * i) for i in range(5)]
    expected = [one.score(batch) for batch in batches]
    said: list[str] = []
    need = torch_engine.activation_bytes(members[0].architecture, 150, 64, 4) + (540 << 20)
    grouped = TorchEngine(
        members, recipe(), both_strands=True, device="cpu", memory=int(need / 0.92), say=said.append
    )
    assert said == ["members: 3 do not fit the memory together; loaded in 3 groups in turn"]
    pair = Cards([TorchEngine(members, recipe(), both_strands=True, device="cpu") for _ in range(2)])
    for engine in (grouped, pair):
        futures = [engine.submit(batch) for batch in batches]
        for future, scores in zip(futures, expected, strict=True):
            assert (future.result() == scores).all()
        assert (engine.score(batches[2], [2, 0]) == expected[2][[2, 0]]).all()
        engine.close()
    one.close()


def test_what_does_not_fit_is_said(members: list[Checkpoint]) -> None:
    said: list[str] = []
    batches = recipe(batch=[4096, 64])
    need = torch_engine.activation_bytes(members[0].architecture, 150, 64, 4) + (700 << 20)
    engine = TorchEngine(
        members, batches, both_strands=True, device="cpu", memory=int(need / 0.92), say=said.append
    )
    assert engine.batch == 64
    assert "batch: 4,096 rows need" in said[0]
    assert "trying the next smaller" in said[0]
    engine.close()
    with pytest.raises(
        EngineError, match=r"not even passes of 64 rows fit the memory of cpu \(0\.0 GB free\)"
    ):
        TorchEngine(members, batches, both_strands=True, device="cpu", memory=1000)


def test_progress_and_interrupt(members: list[Checkpoint]) -> None:
    engine = TorchEngine(members, recipe(), both_strands=True, device="cpu")
    heard: list[float] = []
    engine.submit(random_batch(100, 0), watch=heard.append).result()
    assert len(heard) >= 4
    assert sum(heard) == pytest.approx(1.0)

    def stop(share: float) -> None:
        engine.interrupt()

    first, second = (engine.submit(random_batch(200, 0), watch=stop) for _ in range(2))
    for future in (first, second):
        with pytest.raises(EngineError, match="scoring was interrupted"):
            future.result()
    with pytest.raises(EngineError, match="this engine is closed"):
        engine.submit(random_batch(1, 0))
    engine.close()


@pytest.mark.parametrize("call", range(3))
def test_a_fault_of_the_device_ends_scoring_in_one_line(
    members: list[Checkpoint], monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Wherever PyTorch raises: one line that names the device, and no score afterwards."""
    engine, calls = TorchEngine(members, recipe(), both_strands=True, device="cpu"), 0

    def fail(*arguments: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > call:
            raise RuntimeError("CUDA error: an illegal memory access was encountered\nCompile with ...")
        return kept(*arguments)

    kept = engine.scorer.members._runs[1]  # type: ignore[union-attr]
    engine.scorer.members._runs[1] = fail  # type: ignore[union-attr]
    first, second = (engine.submit(random_batch(100, 0)) for _ in range(2))
    with pytest.raises(
        CardError, match=r"cpu \(cpu\): CUDA error: an illegal memory access was encountered; the run"
    ):
        first.result()
    with pytest.raises(EngineError):
        second.result()
    with pytest.raises(EngineError):
        engine.score(random_batch(5, 0))
    engine.close()


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("contract", ["yeast", "human"])
def test_the_card_encodes_bit_for_bit(precision: str, both: bool, contract: str) -> None:
    """one_hot of the card against `dna.one_hot.strands`, N and extra channels included."""
    member = toy_checkpoint(0) if contract == "yeast" else toy_checkpoint(0, human_contract(n_value=0.0))
    its, card = member.contract, TorchCard(CPU)
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 5, (7, its.length), dtype=np.uint8)
    kind = np.float32 if precision == "fp32" else np.float16
    with card.use():
        source = card.allocate(codes.size)
        x = card.allocate(launches.input_bytes(20, its, "ncl", precision))
        given = card.pinned(codes.size)
        given.array[:] = codes.ravel()
        card.copy_in(source.address, given.array, None)
        launch = launches.one_hot(
            source.address,
            x.address,
            7,
            20,
            its,
            both=both,
            is_singleton=True,
            layout="ncl",
            precision=precision,
        )
        card.launch(launch, None)
        found = card.pinned(x.nbytes)
        card.copy_out(found.array, x.address, None)
        card.drain()
    expected = strands(codes, its, both=both, is_singleton=True, rows=20).astype(kind)
    assert (found.array.view(kind).reshape(expected.shape) == expected).all()
    assert not np.signbit(found.array.view(kind)).any()


def test_memory_that_is_not_one_allocation_is_refused() -> None:
    card = TorchCard(CPU)
    first, second = card.allocate(100), card.allocate(100)
    assert first.address % 256 == second.address % 256 == 0
    with pytest.raises(ValueError, match="not within one allocation"):
        card.view(first.address, (101,), torch.uint8)
    first.free()
    assert card.view(second.address + 4, (96,), torch.uint8).shape == (96,)


def test_weights_beyond_fp16_are_refused(members: list[Checkpoint]) -> None:
    arrays = dict(members[0].arrays)
    arrays["blocks.0.se.squeeze.weight"] = arrays["blocks.0.se.squeeze.weight"] * np.float32(1e6)
    huge = replace(members[0], arrays=arrays)
    with pytest.raises(ModelError, match=r"does not fit FP16 \(largest 65504\); use --precision fp32"):
        TorchNetwork(huge, TorchForm("fp16", "shifted"), CPU)
    TorchNetwork(huge, TorchForm("fp32", "shifted"), CPU)
    with pytest.raises(ModelError, match=r"cannot be repacked to 16 a group; choose another torch\.groups"):
        TorchNetwork(toy_checkpoint(0, inner_widths=(20, 20)), TorchForm("fp32", "repack16"), CPU)


def test_widths_that_are_no_multiple_take_what_divides_them() -> None:
    """24 channels in groups of 8 where 16 were asked for, as widths of students are."""
    member = toy_checkpoint(0, inner_widths=(24, 24))
    codes = random_batch(4, 0, length=member.contract.length).codes_WL
    x = torch.from_numpy(strands(codes, member.contract, both=False, is_singleton=True))
    network = TorchNetwork(member, TorchForm("fp32", "repack16"), CPU)
    assert network.blocks[0].group.groups == 3
    truth = Forward(member, both_strands=False, is_singleton=True).score(codes)
    assert np.abs(network(x).detach().numpy() - truth).max() < 2e-5


def test_kernels_that_cannot_be_used_are_not(
    members: list[Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Triton missing, or giving other numbers: said, and PyTorch's kernels run."""
    monkeypatch.setitem(sys.modules, "legscore.engine.torch_kernels", None)
    said: list[str] = []
    asked = recipe("fp16", kernels="triton")
    engine = TorchEngine(members, asked, both_strands=True, device="cpu", say=said.append)
    assert engine.describe()["kernels"] == "torch"
    assert said[0].startswith(
        "kernels: PyTorch's instead of Triton's (import of legscore.engine.torch_kernels"
    )
    engine.close()

    class Wrong:
        def __init__(self, member: Checkpoint, form: TorchForm, device: Any) -> None:
            self.off = 0.5 if form.kernels == "triton" else 0.0

        def __call__(self, x: Any) -> Any:
            return torch.zeros(len(x)) + self.off

    monkeypatch.setattr(torch_engine, "TorchNetwork", Wrong)
    form = torch_engine.chosen_form(
        members[0], TorchForm("fp16", "shifted", "triton"), TorchCard(CPU), said.append
    )
    assert form.kernels == "torch"
    assert said[-1] == "kernels: PyTorch's instead of Triton's (they differ by 0.5 from PyTorch's)"


def test_a_recipe_with_triton_in_fp32_is_refused(tmp_path: Path) -> None:
    text = (REPOSITORY / "engines/fp32.toml").read_text().replace('kernels = "torch"', 'kernels = "triton"')
    (tmp_path / "r.toml").write_text(text)
    with pytest.raises(EngineError, match=r"torch\.kernels triton compute in FP16 only; use torch"):
        load_recipe(str(tmp_path / "r.toml"))


def test_compiled_passes_give_the_same(members: list[Checkpoint], monkeypatch: pytest.MonkeyPatch) -> None:
    small = [toy_checkpoint(0, widths=(8, 8), inner_widths=(16,), se="none", pools=(1,))]
    plain = TorchEngine(small, recipe(groups="native"), both_strands=True, device="cpu")
    batch = random_batch(20, 5)
    try:
        compiled = TorchEngine(small, recipe(compile=True, groups="native"), both_strands=True, device="cpu")
    except EngineError as error:
        pytest.skip(f"no C++ compiler that torch.compile takes: {error}")
    assert np.abs(compiled.score(batch) - plain.score(batch)).max() < 1e-5
    assert compiled.describe()["compiled"] is True
    compiled.close()
    plain.close()

    def refuse(*arguments: Any, **named: Any) -> Any:
        raise RuntimeError("no compiler here\nmore")

    monkeypatch.setattr(torch, "compile", lambda network, dynamic: refuse)
    with pytest.raises(
        EngineError, match=r"does not compile the network \(no compiler here\); set torch.compile"
    ):
        TorchEngine(members[:1], recipe(compile=True), both_strands=True, device="cpu")


def test_fidelity_is_measured_where_openvino_is_not(
    members: list[Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reference, "has_openvino", lambda: False)
    said: list[str] = []
    engine = TorchEngine(members, recipe("fp16"), both_strands=True, device="cpu")
    found = open_engine.measure(engine, members)
    assert found.reference == "torch fp32"
    assert found.effect_spearman > 0.99
    assert 0 < found.score_rmse < 0.01
    engine.close()
    opened = open_engine.open_engine(members, Request("torch", "fp32"), said.append)
    assert opened.fidelity is not None
    assert opened.fidelity.reference == "torch fp32"
    opened.close()


def test_the_engine_needs_neither_openvino_nor_pyarrow(tmp_path: Path) -> None:
    """Opened, measured and run with both (and what else a bare GPU machine lacks) blocked from import."""
    blocked = (
        "openvino",
        "pyarrow",
        "pycuda",
        "tensorrt",
        "onnxruntime",
        "polars",
        "pysam",
        "triton",
        "platformdirs",
    )
    code = f"""
        import sys, importlib.abc

        class Block(importlib.abc.MetaPathFinder):
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] in {blocked!r}:
                    raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

        sys.meta_path.insert(0, Block())
        import importlib.util
        kept = importlib.util.find_spec
        importlib.util.find_spec = lambda name, *rest: None if name.split(".")[0] in {blocked!r} else kept(name, *rest)
        sys.path.insert(0, {str(REPOSITORY)!r})
        import numpy as np
        from legscore.dna.batch import Batch
        from legscore.engine.choose import Request
        from legscore.engine.fidelity import LEAST
        from legscore.engine import fidelity, open_engine
        from legscore.model.checkpoint import load_members
        fidelity.TOTAL = LEAST
        members = load_members([{str(BUNDLED[0])!r}])
        engine = open_engine.open_engine(members, Request("torch", "fp16"), print)
        codes = np.random.default_rng(0).integers(0, 4, (3, 150), dtype=np.uint8)
        print("SCORES", engine.score(Batch(codes)).shape, engine.fidelity.reference)
        engine.close()
        print("LOADED", [name for name in {blocked!r} if name in sys.modules])
        """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True, text=True, env={"LEGSCORE_CACHE": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "SCORES (1, 3) torch fp32" in done.stdout
    assert "LOADED []" in done.stdout
