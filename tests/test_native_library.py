"""The library of kernels/cpu by itself, without OpenVINO (so that it also runs under sanitizers): every form gives the
same bits, for any length, order and number of threads; what leaves the range is NaN; refusals say why."""

from __future__ import annotations

import ctypes
import os
import threading
import time
from typing import Any

import numpy as np
import pytest
from conftest import random_batch, toy_checkpoint, yeast_contract
from native_families import (
    EXAMPLES,
    FAMILIES,
    HERE,
    NOT_BUILT,
    TRAINED,
    engine,
    overflowing_at_poly_a,
    scores,
)
from test_generator import generator_contract, toy_generator
from test_native_generator import inputs, probabilities

from legscore.dna.batch import Batch
from legscore.dna.contract import reverse_complement
from legscore.engine.native_engine import NativeEngine, checked
from legscore.engine.native_library import library_path, load_library
from legscore.engine.native_pack import REFUSALS, PackedNetwork, packed_shape, uncovered
from legscore.errors import EngineError
from legscore.model.checkpoint import load_checkpoint
from legscore.model.folded import folded_arrays

pytestmark = pytest.mark.skipif(not library_path().is_file(), reason=NOT_BUILT)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_form_gives_the_bits_of_the_portable_one(name: str) -> None:
    member = FAMILIES[name]
    batch = random_batch(40, 30, member.contract.length)
    ours = scores(member, batch, form="portable")
    assert np.isfinite(ours).all()
    assert len(set(ours[0])) > 30
    for form in HERE:
        assert scores(member, batch, form=form).tobytes() == ours.tobytes(), form


@pytest.mark.parametrize("kernel", [3, 7, 11])
@pytest.mark.parametrize("length", [80, 81, 97, 128, 150, 151, 230, 255, 299, 300])
def test_lengths(length: int, kernel: int) -> None:
    member = toy_checkpoint(1, yeast_contract().in_genome(length), kernel=kernel)
    batch = random_batch(11, 4, length)
    found = [scores(member, batch, form=form) for form in HERE]
    assert np.isfinite(found[0]).all()
    assert all((one == found[0]).all() for one in found)


@pytest.mark.skipif("LEGSCORE_EVERY_LENGTH" not in os.environ, reason="long: .ci/sanitize runs it")
@pytest.mark.parametrize("pools", [(1, 1), (2, 3)])
def test_every_length_from_80_to_300(pools: tuple[int, int]) -> None:
    """So that no tile, row or gap of any length leaves its buffer, with what each form reads ahead."""
    for length in range(80, 301):
        member = toy_checkpoint(1, yeast_contract().in_genome(length), kernel=9, stem_kernel=11, pools=pools)
        batch = random_batch(6, 0, length)
        found = [scores(member, batch, form=form, threads=1) for form in HERE]
        assert np.isfinite(found[0]).all(), length
        assert all(one.tobytes() == found[0].tobytes() for one in found), length


@pytest.mark.parametrize("length", [80, 97, 230])
def test_generators_of_any_length(length: int) -> None:
    generator = toy_generator(1, generator_contract(length=length, insert_min=length, insert_max=length))
    x_N6L = inputs(5, length)
    found = [probabilities(generator, x_N6L, form=form, threads=1) for form in HERE]
    assert np.abs(found[0].sum(axis=1) - 1).max() < 1e-6
    assert all(one.tobytes() == found[0].tobytes() for one in found)


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


def test_strands_beyond_range_become_nan_and_leave_their_neighbours_alone() -> None:
    """Poly-A drives one channel beyond FP16; random windows do not."""
    member, codes = overflowing_at_poly_a()
    for form in HERE:
        ours = engine(member, form=form, both_strands=False)
        found = ours.score(Batch(codes))[0]
        assert np.isnan(found[17])
        others = np.delete(np.arange(40), 17)
        assert np.isfinite(found[others]).all()
        assert (ours.score(Batch(codes[others]))[0] == found[others]).all()
        assert (ours.score(Batch(codes[18:]))[0] == found[18:]).all()
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


def test_packed_weights_of_fifty_members_are_small() -> None:
    network = PackedNetwork(load_checkpoint(EXAMPLES / f"{TRAINED[0]}.safetensors"))
    assert network.n_bytes <= 10e6
    network.close()
    network.close()


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


def test_activations_beyond_fp16_are_no_wrong_numbers() -> None:
    """Two members of the kind: an expansion and a group that overflow, for some windows only."""
    batch = random_batch(30, 0)
    for name, shape in (("blocks.0.expand.conv.weight", 3e4), ("blocks.1.group.conv.weight", 3e4)):
        member = toy_checkpoint(1)
        member.arrays[name] *= shape
        with pytest.raises(EngineError, match="leave the range of the formats"):
            engine(member)
        if name.startswith("blocks.0"):  # of a second member: the first block when it is opened
            with pytest.raises(EngineError, match="member 2 leave the range"):
                engine([toy_checkpoint(2), member])
            continue
        others = engine(
            [toy_checkpoint(2), member]
        )  # the rest while scoring starts, before any score is given
        for _ in range(2):
            with pytest.raises(EngineError, match=r"member 2 leave the range.*--engine openvino"):
                others.score(Batch(batch.codes_WL[:1]), [0])
        others.close()
    member = toy_checkpoint(1)
    member.arrays["blocks.0.se.excite.weight"][:] = (
        0.0  # every window alike, so that those at the edge differ
    )
    ours = engine(member)
    good = ours.score(batch)
    assert np.isfinite(good).all()
    ours.close()
