"""The GPU pipeline on a card made of the CPU: real kernels, real graphs, streams in any order that events
allow."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import partial

import numpy as np
import pytest
from conftest import human_contract, random_batch, toy_checkpoint, yeast_contract
from host_kernels import HostKernels, compiler
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("onnxruntime", reason="running graphs on the CPU needs legscore[bench]")

from host_card import HostCard, HostEngine

from legscore.cuda.card import CardError
from legscore.cuda.scorer import runs
from legscore.dna.batch import Batch
from legscore.engine.card_engine import Cards
from legscore.engine.openvino_engine import OpenVINOEngine
from legscore.engine.recipe import load_recipe
from legscore.errors import EngineError
from legscore.model.checkpoint import Checkpoint
from legscore.model.gpu_form import GpuForm

SMALL = {"widths": (8, 8, 8), "inner_widths": (16, 16)}
FP32 = GpuForm("fp32", "depthwise", "ncl", "sigmoid")


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> HostKernels:
    if compiler() is None:
        pytest.skip("no C++ compiler here to run the kernels on the CPU")
    return HostKernels(tmp_path_factory.mktemp("kernels"))


def short(length: int = 24) -> dict[str, object]:
    return {
        "length": length,
        "flank5": "A" * length,
        "flank3": "",
        "adapter5": "",
        "adapter3": "",
        "insert_max": length,
    }


@pytest.fixture(scope="module")
def members() -> list[Checkpoint]:
    return [toy_checkpoint(seed, yeast_contract(**short()), **SMALL) for seed in range(4)]


batch_of = partial(random_batch, length=24)


def truth(members: list[Checkpoint], both: bool = True, singleton: bool = False) -> OpenVINOEngine:
    return OpenVINOEngine(members, load_recipe("fp32"), both_strands=both, is_singleton=singleton)


@pytest.fixture(scope="module")
def reference(members: list[Checkpoint]) -> OpenVINOEngine:
    return truth(members)


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize(
    ("form", "tolerance"),
    [
        (FP32, 1e-4),
        (GpuForm("fp32", "repack8", "nc1l", "tanh"), 1e-4),
        (GpuForm("fp16", "repack8", "ncl", "sigmoid"), 0.005),
        (GpuForm("fp16", "native", "nc1l", "tanh"), 0.005),
        (GpuForm("fp16", "depthwise", "hwc8", "sigmoid"), 0.005),
    ],
    ids=str,
)
def test_scores_equal_openvino(
    kernels: HostKernels, members: list[Checkpoint], form: GpuForm, tolerance: float, both: bool
) -> None:
    card = HostCard(kernels, seed=1)
    engine = HostEngine(members, card, form, batch=64, both=both, is_singleton=True)
    reference = truth(members, both, singleton=True)
    batch = batch_of(70, 61)
    ours, theirs = engine.score(batch), reference.score(batch)
    assert ours.shape == (4, 131)
    assert ours.dtype == np.float32
    assert np.abs(ours - theirs).max() < tolerance
    assert theirs.std() > 0.3
    if both:
        forward = truth(members, both=False, singleton=True)
        assert np.abs(engine.score_forward(batch, 2) - forward.score_forward(batch, 2)).max() < tolerance
    engine.close()
    assert not card.held, "memory was left on the card"


def test_human_windows_without_extra_channels(kernels: HostKernels) -> None:
    members = [toy_checkpoint(1, human_contract(n_value=0.0), pools=(2, 2), se="plain", **SMALL)]
    engine = HostEngine(members, HostCard(kernels), GpuForm("fp16", "repack8", "hwc8"), batch=64)
    batch = batch_of(5, 3, length=230)
    assert np.abs(engine.score(batch) - truth(members).score(batch)).max() < 0.005
    engine.close()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.tuples(st.integers(0, 80), st.integers(0, 40)), min_size=1, max_size=6),
    subsets=st.lists(st.none() | st.lists(st.integers(0, 3), max_size=5), min_size=6, max_size=6),
    groups=st.sampled_from([None, [[0, 1], [2, 3]], [[0], [1, 2, 3]], [[0], [1], [2], [3]]]),
    seed=st.integers(0, 10**6),
)
def test_any_order_the_events_allow_gives_the_same_scores(
    kernels: HostKernels,
    members: list[Checkpoint],
    reference: OpenVINOEngine,
    sizes: list[tuple[int, int]],
    subsets: list[list[int] | None],
    groups: list[list[int]] | None,
    seed: int,
) -> None:
    """Several batches in flight, of any sizes, any members, any grouping, under a scheduler that does all it
    may."""
    card = HostCard(kernels, seed=seed)
    engine = HostEngine(members, card, FP32, batch=64, groups=groups)
    batches = [batch_of(windows, edits if windows else 0, seed=i) for i, (windows, edits) in enumerate(sizes)]
    shares: list[list[float]] = [[] for _ in batches]
    futures = [
        engine.submit(batch, chosen, watch=told.append)
        for batch, chosen, told in zip(batches, subsets, shares, strict=False)
    ]
    for batch, chosen, future, told in zip(batches, subsets, futures, shares, strict=False):
        expected = reference.score(batch, chosen)
        found = future.result()
        assert found.shape == expected.shape
        assert found.size == 0 or np.abs(found - expected).max() < 1e-4
        assert sum(told) == pytest.approx(1.0)
    engine.close()
    assert not card.held


def test_scores_do_not_depend_on_neighbours_or_groups(
    kernels: HostKernels, members: list[Checkpoint]
) -> None:
    whole = HostEngine(members, HostCard(kernels), FP32, batch=64)
    grouped = HostEngine(members, HostCard(kernels, seed=9), FP32, batch=64, groups=[[0, 1, 2], [3]])
    assert grouped.loaded.loads == [1, 0], "every group is loaded once before the first batch"
    batch = batch_of(100, 0)
    scores = whole.score(batch)
    assert (grouped.score(batch) == scores).all()
    # other rows of a pass: ONNX Runtime's last bits follow the row
    few = whole.score(Batch(batch.codes_WL[40:43]))
    assert np.allclose(few, scores[:, 40:43], atol=1e-5)
    assert (whole.score(batch, [3, 1, 2, 1]) == scores[[3, 1, 2, 1]]).all()
    with pytest.raises(IndexError, match="ensemble of 4"):
        whole.submit(batch, [4])
    whole.close()
    grouped.close()
    with pytest.raises(EngineError, match="closed"):
        whole.submit(batch)


@pytest.mark.parametrize("fail_at", [0, 3, 9, 17, 30])
def test_a_lost_card_fails_every_batch_and_never_scores(
    kernels: HostKernels, members: list[Checkpoint], fail_at: int
) -> None:
    card = HostCard(kernels, seed=fail_at)
    engine = HostEngine(members, card, FP32, batch=64)
    card.fail_at = card.done_work + fail_at
    futures: list[Future[np.ndarray]] = []
    for i in range(4):
        try:
            futures.append(engine.submit(batch_of(40, 0, seed=i)))
        except EngineError:
            break
    with pytest.raises(CardError, match=r"GPU 0 \(host\): an illegal memory access"):
        for future in futures:
            future.result(timeout=60)
    assert all(
        isinstance(future.exception(timeout=60), EngineError) or future.result() is not None
        for future in futures
    )
    with pytest.raises(EngineError, match="an illegal memory access"):
        engine.submit(batch_of(1, 0))
    engine.close()
    assert not card.held


def test_interrupting_ends_soon_and_leaves_nothing(kernels: HostKernels, members: list[Checkpoint]) -> None:
    card = HostCard(kernels)
    engine = HostEngine(members, card, FP32, batch=64)
    reached = threading.Event()
    futures = [
        engine.submit(batch_of(200, 0, seed=i), watch=lambda share: (reached.set(), engine.interrupt()))
        for i in range(5)
    ]
    assert reached.wait(60)
    for future in futures:
        with pytest.raises(EngineError, match="interrupted"):
            future.result(timeout=60)
    engine.close()
    assert not card.held


def test_a_watcher_that_raises_fails_its_own_batch_only(
    kernels: HostKernels, members: list[Checkpoint]
) -> None:
    engine = HostEngine(members, HostCard(kernels), FP32, batch=64)

    def refuse(share: float) -> None:
        raise ValueError("no")

    bad, good = engine.submit(batch_of(50, 0), watch=refuse), engine.submit(batch_of(50, 0))
    with pytest.raises(ValueError, match="no"):
        bad.result(timeout=60)
    assert good.result(timeout=60).shape == (4, 50)
    engine.close()


def test_several_cards_keep_the_order_and_share_the_work(
    kernels: HostKernels, members: list[Checkpoint]
) -> None:
    cards = [HostCard(kernels, seed=i) for i in range(3)]
    engine = Cards([HostEngine(members[:2], card, FP32, batch=64) for card in cards])
    assert engine.depth == 6
    batches = [batch_of(30 + i, 5, seed=i) for i in range(12)]
    reference = truth(members[:2])
    for batch, future in zip(batches, [engine.submit(batch) for batch in batches], strict=True):
        assert np.abs(future.result() - reference.score(batch)).max() < 1e-4
    used = [card.done_work for card in cards]
    assert min(used) > 0.15 * sum(used)
    assert (engine.score_forward(batches[0], 1) == engine.engines[0].score_forward(batches[0], 1)).all()
    engine.close()
    assert not any(card.held for card in cards)


def test_a_lost_card_among_several_ends_the_run(kernels: HostKernels, members: list[Checkpoint]) -> None:
    cards = [HostCard(kernels), HostCard(kernels, seed=1)]
    engine = Cards([HostEngine(members[:1], card, FP32, batch=64) for card in cards])
    cards[1].fail_at = cards[1].done_work + 2
    both = threading.Event()  # the first card is busy until the second has work
    first = engine.submit(batch_of(20, 0), watch=lambda share: both.wait(60) and None)
    second = engine.submit(batch_of(20, 0))
    both.set()
    assert first.result(timeout=60).shape == (1, 20)
    with pytest.raises(CardError):
        second.result(timeout=60)
    engine.close()


def test_runs_of_members() -> None:
    assert [*runs([])] == []
    assert [*runs([0, 1, 2])] == [(0, 0, 3)]
    assert [*runs([2, 0, 1, 3, 3])] == [(0, 2, 1), (1, 0, 2), (3, 3, 1), (4, 3, 1)]
