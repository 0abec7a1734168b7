"""The native engine: every form gives the same bits, all families agree with FP32, refusals say why."""

from __future__ import annotations

import ctypes
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import PUBLISHED, human_contract, one_line, random_batch, toy_checkpoint, yeast_contract

from legscore.dna.batch import Batch
from legscore.dna.contract import Output, reverse_complement
from legscore.engine import fidelity as fid
from legscore.engine import native_library, open_engine
from legscore.engine.choose import Request
from legscore.engine.fidelity import compare, probe
from legscore.engine.native_engine import NativeEngine, checked
from legscore.engine.native_library import FORMS, library_path, load_library, missing_form
from legscore.engine.native_pack import REFUSALS, PackedNetwork, folded_arrays, packed_shape, uncovered
from legscore.engine.open_engine import open_engine as opened
from legscore.engine.openvino_engine import OpenVINOEngine
from legscore.engine.recipe import load_recipe
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint, load_checkpoint
from legscore.model.importers import import_checkpoint

pytestmark = pytest.mark.skipif(
    not library_path().is_file(), reason="kernels/cpu is not built here: python setup.py build_cpu"
)
BF16, FP32 = load_recipe("bf16"), load_recipe("fp32")
EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
TRAINED = ("original/yeast_complex_original", "models/yeast_complex_seed1")


def families() -> dict[str, Checkpoint]:
    """Small networks of every covered kind."""
    forty = yeast_contract(output=Output("bins", "bin", 0.0, 39.0, 4.0))
    human = human_contract()
    return {
        "original": toy_checkpoint(1),
        "optimised": toy_checkpoint(
            2, concat_order="fx,x", se="plain", filters_per_group=1, final_activation="none"
        ),
        "add": toy_checkpoint(3, residual="add"),
        "no residual, no gate": toy_checkpoint(4, residual="none", se="none"),
        "four per group, uneven widths": toy_checkpoint(
            5, filters_per_group=4, widths=(40, 33, 70), inner_widths=(72, 136)
        ),
        "wide kernels, 40 bins": toy_checkpoint(6, forty, kernel=11, stem_kernel=9, outputs=40),
        "kernel 1": toy_checkpoint(7, kernel=1, stem_kernel=1),
        "kernel 3": toy_checkpoint(8, kernel=3, stem_kernel=11),
        "one block": toy_checkpoint(9, widths=(24, 24), inner_widths=(48,), pools=(1,)),
        "human, pooled": toy_checkpoint(10, human, pools=(2, 2), se="plain", filters_per_group=1),
        "human, SiLU": toy_checkpoint(11, human, pools=(3, 1), kernel=9, final_activation="silu"),
        "N is zero": toy_checkpoint(12, yeast_contract(n_value=0.0)),
        "other alphabet": toy_checkpoint(
            13, yeast_contract(alphabet="ACGT", channels=(*"ACGT", "is_reverse"))
        ),
    }


FAMILIES = families()
HERE = [form for form in FORMS if library_path().is_file() and not missing_form(form)]


def engine(members: Checkpoint | list[Checkpoint], **options: Any) -> NativeEngine:
    options.setdefault("both_strands", True)
    return NativeEngine(members if isinstance(members, list) else [members], BF16, **options)


def scores(member: Checkpoint, batch: Batch, **options: Any) -> np.ndarray:
    opened_engine = engine(member, **options)
    try:
        return opened_engine.score(batch)
    finally:
        opened_engine.close()


@pytest.mark.parametrize("name", FAMILIES)
def test_every_form_gives_the_bits_of_the_portable_one_and_agrees_with_fp32(name: str) -> None:
    member = FAMILIES[name]
    batch = random_batch(40, 30, member.contract.length)
    ours = scores(member, batch, form="portable")
    for form in HERE:
        assert scores(member, batch, form=form).tobytes() == ours.tobytes(), form
    reference = OpenVINOEngine([member], FP32, both_strands=True)
    truth = reference.score(batch)
    reference.close()
    assert np.isfinite(ours).all()
    assert np.sqrt(((ours - truth) ** 2).mean()) < 0.005
    assert np.corrcoef(ours[0], truth[0])[0, 1] > 0.9 or truth.std() < 0.005


@pytest.mark.skipif(len(HERE) < 2, reason="this CPU runs the portable form alone")
@pytest.mark.parametrize("name", ["original", "optimised", "human, pooled"])
def test_two_thousand_strands_have_the_same_bits_in_any_order_and_number_of_threads(name: str) -> None:
    member = FAMILIES[name]
    batch = random_batch(600, 424, member.contract.length, seed=5)
    expected = scores(member, batch, form="portable", threads=2)
    windows = Batch(batch.expand())
    order = np.random.default_rng(1).permutation(batch.n_windows)
    for form in HERE[1:]:
        for threads in (1, 3):
            assert scores(member, batch, form=form, threads=threads).tobytes() == expected.tobytes()
        assert (scores(member, Batch(windows.codes_WL[order]), form=form) == expected[:, order]).all()


@pytest.mark.parametrize("length", [80, 81, 97, 128, 150, 151, 230, 255, 299, 300])
def test_lengths(length: int) -> None:
    member = toy_checkpoint(1, yeast_contract().in_genome(length))
    batch = random_batch(7, 4, length)
    found = [scores(member, batch, form=form) for form in HERE]
    assert all((one == found[0]).all() for one in found)
    reference = OpenVINOEngine([member], FP32, both_strands=True)
    assert np.abs(found[0] - reference.score(batch)).max() < 0.01
    reference.close()


@pytest.mark.parametrize("model", TRAINED)
def test_trained_networks_agree_with_fp32(model: str) -> None:
    member = load_checkpoint(EXAMPLES / f"{model}.safetensors")
    batch = probe(member.contract, 160, 0)
    ours = scores(member, batch, both_strands=False)
    reference = OpenVINOEngine([member], FP32, both_strands=False)
    found = compare([(ours[0], reference.score(batch)[0])], "openvino fp32")
    reference.close()
    assert found.score_rmse <= 0.01, found
    assert found.effect_spearman >= 0.9998, found  # 0.9999 and more over 2,048 changes (bench/native.py)
    if len(HERE) > 1:
        few = Batch(batch.codes_WL[:4])
        assert (scores(member, few, form="portable") == scores(member, few)).all()


@pytest.mark.shared
@pytest.mark.parametrize("file", PUBLISHED)
def test_published_vectors(shared: Path, file: str) -> None:
    vectors = np.load(shared / "reference" / f"{file.split('.')[0]}_io.npz")
    member = import_checkpoint(shared / "reference" / file, **PUBLISHED[file])
    assert not uncovered(member)
    ours = scores(member, random_batch(16, 0, member.contract.length), both_strands=False)
    reference = OpenVINOEngine([member], FP32, both_strands=False)
    truth = reference.score(random_batch(16, 0, member.contract.length))
    reference.close()
    assert vectors.files
    assert np.abs(ours - truth).max() < 0.05


def test_edits_neighbours_members_and_both_strands() -> None:
    members = [toy_checkpoint(seed) for seed in range(3)]
    batch = random_batch(23, 61)
    ours, forward = engine(members, threads=2), engine(members, both_strands=False)
    found = ours.score(batch)
    assert found.shape == (3, 84)
    assert (ours.score(Batch(batch.expand())) == found).all()
    assert (ours.score(batch, [2, 0, 2]) == found[[2, 0, 2]]).all()
    for n in (1, 2, 7):
        assert (ours.score(Batch(batch.codes_WL[:n])) == found[:, :n]).all()
    assert ours.score(Batch(np.empty((0, 150), np.uint8))).shape == (3, 0)
    first = forward.score(batch)
    flag = members[0].contract.channels.index("is_reverse")
    assert flag == 4
    assert (ours.scores_forward(batch, [1]) == first[[1]]).all()
    heard: list[float] = []
    ours.submit(batch, watch=heard.append).result()
    assert sum(heard) == pytest.approx(1.0)
    with pytest.raises(IndexError, match="ensemble of 3"):
        ours.submit(batch, [3])
    ours.close()
    forward.close()
    with pytest.raises(EngineError, match="closed"):
        ours.submit(batch)


def test_both_strands_of_a_window_without_strand_channel_are_those_of_its_complement() -> None:
    member = FAMILIES["human, pooled"]
    batch = random_batch(6, 0, 230)
    assert (scores(member, batch) == scores(member, Batch(reverse_complement(batch.codes_WL)))).all()


def test_singleton_channel_counts() -> None:
    batch = random_batch(5, 0)
    found = scores(FAMILIES["original"], batch), scores(FAMILIES["original"], batch, is_singleton=True)
    assert (found[0] != found[1]).any()


def test_activations_beyond_fp16_are_no_wrong_numbers() -> None:
    """Two members of the kind: an expansion and a group that overflow, for some windows only."""
    batch = random_batch(30, 0)
    for name, shape in (("blocks.0.expand.conv.weight", 3e4), ("blocks.1.group.conv.weight", 3e4)):
        member = toy_checkpoint(1)
        member.arrays[name] *= shape
        with pytest.raises(EngineError, match="leave the range of the formats"):
            engine(member)
    member = toy_checkpoint(1)
    member.arrays["blocks.0.se.excite.weight"][:] = (
        0.0  # every window alike, so that those at the edge differ
    )
    ours = engine(member)
    good = ours.score(batch)
    assert np.isfinite(good).all()
    ours.close()


def test_strands_beyond_range_become_nan_and_leave_their_neighbours_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Poly-A drives one channel beyond FP16; random windows do not."""
    member = toy_checkpoint(1)
    weight = member.arrays["stem.conv.weight"]
    weight[:4] = 0.0
    weight[:4, 0] = 1.0  # counts of A among 7
    member.arrays["stem.norm.running_mean"][:4] = 6.5  # only 7 of 7 are above
    member.arrays["stem.norm.weight"][:4], member.arrays["stem.norm.running_var"][:4] = 1.0, 1e-9
    member.arrays["stem.norm.bias"][:4] = 0.0
    member.arrays["blocks.0.expand.conv.weight"] *= 100.0
    rng = np.random.default_rng(0)
    codes = rng.integers(1, 4, (40, 150), dtype=np.uint8)
    codes[17, 40:60] = 0
    for form in HERE:
        ours = engine(member, form=form, both_strands=False)
        found = ours.score(Batch(codes))[0]
        assert np.isnan(found[17])
        others = np.delete(np.arange(40), 17)
        assert np.isfinite(found[others]).all()
        assert (ours.score(Batch(codes[others]))[0] == found[others]).all()
        assert (ours.score(Batch(codes[18:]))[0] == found[18:]).all()
        ours.close()


def test_interrupted_within_two_seconds() -> None:
    ours = engine([load_checkpoint(EXAMPLES / f"{TRAINED[1]}.safetensors")])
    future = ours.submit(random_batch(5000, 0))
    time.sleep(0.3)
    started = time.monotonic()
    ours.interrupt()
    with pytest.raises(EngineError, match="interrupted"):
        future.result(timeout=20)
    assert time.monotonic() - started < 2.0
    ours.close()


def test_threads_live_as_long_as_the_engine() -> None:
    before = {t.name for t in threading.enumerate()}
    ours = engine(FAMILIES["original"], threads=2)
    for _ in range(3):
        ours.score(random_batch(50, 0))
    names = [
        t.name for t in threading.enumerate() if t.name.startswith("legscore-native") and t.name not in before
    ]
    assert len(names) == 2
    ours.close()
    assert not any(t.is_alive() and t.name in names for t in threading.enumerate())
    with pytest.raises(EngineError, match="0 threads"):
        engine(FAMILIES["original"], threads=0)


def test_what_is_not_covered_is_refused_with_the_reason() -> None:
    long = toy_checkpoint(1, yeast_contract().in_genome(601))
    wide = toy_checkpoint(1, filters_per_group=32, inner_widths=(32, 32))
    for member, why in ((long, "a window is 601, outside 8..600"), (wide, "filters per group is 32")):
        assert why in uncovered(member)
        with pytest.raises(EngineError, match=why):
            engine(member)
    with pytest.raises(EngineError, match="different shapes"):
        engine([toy_checkpoint(1), toy_checkpoint(1, widths=(16, 16, 8))])
    weights = toy_checkpoint(1)
    weights.arrays["blocks.0.mix.conv.weight"][0, 0, 0] = 1e9
    with pytest.raises(EngineError, match="beyond the range"):
        engine(weights)


@pytest.mark.parametrize(
    ("place", "value", "code"),
    [(0, 601, 1), (1, 65, 1), (3, 4, 1), (5, 17, 1), (8, 2, 1), (14, 0, 1), (14, 17, 2), (9, 19, 2)],
)
def test_the_library_refuses_shapes_by_itself(place: int, value: int, code: int) -> None:
    member = FAMILIES["original"]
    shape, arrays = packed_shape(member), folded_arrays(member)
    shape[place] = value
    sizes = np.array([array.size for array in arrays], dtype=np.int64)
    pointers = (ctypes.c_void_p * len(arrays))(*[array.ctypes.data for array in arrays])
    error = ctypes.c_int32()
    handle = load_library().legnet_pack(
        shape.ctypes.data, len(shape), pointers, sizes.ctypes.data, len(arrays), ctypes.byref(error)
    )
    assert handle is None
    assert error.value == code
    assert code in REFUSALS


def test_wrong_batches_are_refused_before_the_library_sees_them() -> None:
    codes = np.zeros((2, 150), dtype=np.uint8)
    one, zero = np.array([1], np.int32), np.array([0], np.int16)
    base = np.array([0], np.uint8)
    for batch, why in (
        (Batch(codes[:, :149]), "reads 150 bases"),
        (Batch(codes + 5), "beyond 4"),
        (Batch(codes, one + 1, zero, base), "window is outside 0..1"),
        (Batch(codes, one - 2, zero, base), "window is outside 0..1"),
        (Batch(codes, one, zero + 150, base), "offset is outside 0..149"),
        (Batch(codes, one, zero - 1, base), "offset is outside 0..149"),
        (Batch(codes, one, zero, base + 5), "base is outside 0..4"),
        (Batch(codes, one, np.array([0, 1], np.int16), base), "differ in number"),
    ):
        with pytest.raises(EngineError, match=why):
            checked(batch, 150)


def test_forms_that_disagree_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    if len(HERE) < 2:
        pytest.skip("this CPU runs the portable form alone")
    real = NativeEngine._stretch

    def other(self: NativeEngine, *arguments: Any) -> np.ndarray:
        found = real(self, *arguments)
        return found if arguments[-1] == "portable" else np.nextafter(found, np.float32(100))

    monkeypatch.setattr(NativeEngine, "_stretch", other)
    with pytest.raises(EngineError, match="disagree on member 1"):
        engine(FAMILIES["original"])
    monkeypatch.undo()
    real_activations = NativeEngine.activations

    def flipped(self: NativeEngine, m: int, codes: np.ndarray, depth: int, form: str) -> np.ndarray:
        return real_activations(self, m, codes, depth, form) ^ np.uint16(form != "portable")

    monkeypatch.setattr(NativeEngine, "activations", flipped)
    with pytest.raises(EngineError, match="disagree on member 2"):
        engine([FAMILIES["original"], FAMILIES["original"]])


def test_auto_takes_it_where_the_cpu_has_amx_and_says_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    if open_engine.choose_engine("auto")[0] != "openvino":
        pytest.skip("auto takes a GPU here")
    monkeypatch.setattr(open_engine, "prefers_native", lambda request: request.engine == "auto")
    monkeypatch.setattr(fid, "TOTAL", 128)
    said: list[str] = []
    member = load_checkpoint(EXAMPLES / f"{TRAINED[0]}.safetensors")
    found = opened([member], Request(), said.append)
    assert found.name == "native"
    assert found.fidelity is not None
    assert any(line.startswith("engine: native (the CPU has AMX") for line in said)
    found.close()
    said.clear()
    found = opened([toy_checkpoint(1, yeast_contract().in_genome(601))], Request(), said.append)
    assert found.name == "openvino"
    assert any("openvino instead of native" in line and "601" in line for line in said)
    found.close()


def test_a_missing_or_foreign_library_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cli: Any, toy_models: Path
) -> None:
    monkeypatch.setattr(native_library, "library_path", lambda: tmp_path / "liblegnet.so")
    load_library.cache_clear()
    (tmp_path / "rows.csv").write_text("sequence\nACGT\n")
    ran = cli("run", tmp_path / "rows.csv", "-m", toy_models, "-o", tmp_path / "o.csv", "--engine", "native")
    one_line(ran, "engine native", "was not built", "C++ compiler")
    (tmp_path / "liblegnet.so").write_bytes(b"no library")
    with pytest.raises(EngineError, match="does not load"):
        missing_form("portable")
    load_library.cache_clear()
    with pytest.raises(EngineError, match="known are portable"):
        missing_form("sse2")


def test_packed_weights_of_fifty_members_are_small() -> None:
    network = PackedNetwork(load_checkpoint(EXAMPLES / f"{TRAINED[0]}.safetensors"))
    assert network.n_bytes <= 10e6
    network.close()
    network.close()
