"""kernels/*.cu on the GPU: equal to their numpy twins bit for bit, then GB/s against a copy within the
card."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from gpu_store import Limits, seconds_each

from legscore.cuda import launches
from legscore.cuda.libcuda import Gpu
from legscore.dna.batch import Batch
from legscore.dna.constructs import HUMAN_CONSTRUCT, YEAST_CONSTRUCT
from legscore.dna.contract import Contract, Output
from legscore.dna.one_hot import strands
from legscore.engine.base import ThreadedEngine
from legscore.generate import draws

FORMS = (("ncl", "fp16"), ("hwc8", "fp16"), ("ncl", "fp32"))


def contracts() -> list[Contract]:
    """Yeast with both extra channels and with one, N 0.25 and 0; human without."""
    common: dict[str, Any] = {"alphabet": "AGCT", "rc_trained": True}
    bins, scalar = Output("bins", "bin", 0.0, 17.0), Output("scalar", "log2")
    extras = ("is_reverse", "is_singleton")
    return [
        Contract(channels=(*"AGCT", *extras), n_value=0.25, output=bins, **common, **YEAST_CONSTRUCT),
        Contract(channels=(*"AGCT", extras[0]), n_value=0.0, output=bins, **common, **YEAST_CONSTRUCT),
        Contract(channels=tuple("AGCT"), n_value=0.25, output=scalar, **common, **HUMAN_CONSTRUCT),
    ]


def kernels(gpu: Gpu, limits: Limits) -> dict[str, Any]:
    from legscore.cuda.driver import PyCudaCard

    card = PyCudaCard(gpu, print)
    try:
        with card.use():
            checked = check(card)
            limits.note(what="equal to numpy, bit for bit", checked=checked)
            rates(card, limits)
            images = str(card.kernels)
    finally:
        card.close()
    return {"checked": checked, "images": images}


def on_card(card: Any, launch_of: Any, inputs: list[np.ndarray], nbytes: int) -> np.ndarray:
    """Run one launch: inputs copied in, `launch_of(addresses, out)` launched, `nbytes` copied back."""
    stream, done = card.stream(), card.event()
    held = []
    try:
        for array in inputs:
            pinned, memory = card.pinned(max(array.nbytes, 1)), card.allocate(max(array.nbytes, 1))
            pinned.array[: array.nbytes] = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
            card.copy_in(memory.address, pinned.array, stream)
            held += [pinned, memory]
        out, back = card.allocate(nbytes), card.pinned(nbytes)
        back.array[:] = 0xAB  # a kernel must write every byte
        card.copy_in(out.address, back.array, stream)
        held += [out, back]
        launch = launch_of([memory.address for memory in held[1:-2:2]], out.address)
        card.launch(launch, stream)
        card.copy_out(back.array, out.address, stream)
        card.record(done, stream)
        card.synchronize(done)
        return back.array.copy()
    finally:
        card.drain()
        for thing in held:
            thing.free()


def check(card: Any, rounds: int = 4) -> dict[str, int]:
    """Every kernel against its twin over random shapes; returns how many arrays were compared. SystemExit on
    a difference."""
    rng, compared = np.random.default_rng(0), Counter[str]()

    def same(name: str, found: np.ndarray, expected: np.ndarray) -> None:
        if not (found == np.ascontiguousarray(expected).view(np.uint8).reshape(-1)).all():
            raise SystemExit(f"{name} differs from its numpy twin; nothing is timed")
        compared[name] += 1

    for contract in contracts():
        for _ in range(rounds):
            windows, tail = int(rng.integers(1, 70)), int(rng.integers(0, 9))
            codes = rng.integers(0, 5, (windows, contract.length), dtype=np.uint8)
            for both in (True, False):
                rows = windows * (2 if both else 1) + tail
                for layout, precision in FORMS:
                    expected = strands(codes, contract, both=both, is_singleton=True, rows=rows)
                    expected = expected.astype(np.float32 if precision == "fp32" else np.float16)
                    if layout == "hwc8":
                        padded = np.zeros((rows, 8, contract.length), dtype=np.float16)
                        padded[:, : expected.shape[1]] = expected
                        expected = padded.transpose(0, 2, 1)

                    def one_hot(
                        at: list[int],
                        out: int,
                        windows: int = windows,
                        rows: int = rows,
                        contract: Contract = contract,
                        both: bool = both,
                        layout: str = layout,
                        precision: str = precision,
                    ) -> launches.Launch:
                        form = {"both": both, "is_singleton": True, "layout": layout, "precision": precision}
                        return launches.one_hot(at[0], out, windows, rows, contract, **form)

                    same("one_hot", on_card(card, one_hot, [codes], expected.nbytes), expected)
                members = int(rng.integers(1, 51))
                scores = rng.normal(0, 10, (members, rows)).astype(np.float32)
                average = {
                    "members": members,
                    "batch": rows,
                    "windows": windows,
                    "both": both,
                    "columns": windows,
                    "start": 0,
                }

                def strands_averaged(
                    at: list[int], out: int, average: dict[str, Any] = average
                ) -> launches.Launch:
                    return launches.average_strands(at[0], out, **average)

                found = on_card(card, strands_averaged, [scores], 4 * members * windows)
                same("average_strands", found, ThreadedEngine.average(scores, windows, both))
            edits = int(rng.integers(1, 90))
            batch = Batch(
                codes,
                rng.integers(0, windows, edits).astype(np.int32),
                rng.integers(0, contract.length, edits).astype(np.int16),
                rng.integers(0, 4, edits).astype(np.uint8),
            )
            shape = {"plain": windows, "length": contract.length, "start": 0, "count": batch.n_windows}
            inputs = [codes, batch.window_E, batch.offset_E, batch.base_E]

            def mutated(at: list[int], out: int, shape: dict[str, Any] = shape) -> launches.Launch:
                return launches.mutate(at[0], (at[1], at[2], at[3]), out, **shape)

            found = on_card(card, mutated, inputs, batch.expand().size)
            same("mutate", found, batch.expand())
    for _ in range(rounds):
        check_loop(card, rng, same)
    return dict(compared)


def check_loop(card: Any, rng: np.random.Generator, same: Any) -> None:
    """The kernels of a generator's loop against `legscore.generate.draws`, over one random batch of
    designs."""
    designs, length, n, step = (
        int(rng.integers(1, 90)),
        80,
        int(rng.integers(1, 200)),
        int(rng.integers(1, 1000)),
    )
    seeds = rng.integers(0, 1 << 62, designs)
    order = draws.shuffles(seeds, step, n, length)
    sites = draws.below(seeds, step, length, n, length)
    hits = np.full((designs, length), 0xABABABAB, dtype=np.uint32)
    hits[np.arange(designs)[:, None], sites] = step
    shape = {"length": length, "step": step}
    found = on_card(
        card,
        lambda at, out: launches.mark_sites(at[0], out, designs=designs, mutations=n, **shape),
        [seeds],
        hits.nbytes,
    )
    same("mark_sites", found, hits)
    bases = rng.dirichlet(np.ones(4), (designs, length)).transpose(0, 2, 1).astype(np.float32).copy()
    targets, pass_ = rng.uniform(0, 17, designs).astype(np.float32), {"first": 0, "count": designs}
    x = np.zeros((designs + 3, 6, length), dtype=np.float32)
    x[:designs, :4] = np.take_along_axis(bases, draws.PERMUTATIONS[order].transpose(0, 2, 1), axis=1)
    x[:designs, 4], x[:designs, 5] = targets[:, None], n + 30

    def mutated(at: list[int], out: int) -> launches.Launch:
        return launches.mutate_bases(*at, out, rows=designs + 3, told=n + 30, **pass_, **shape)

    same("mutate_bases", on_card(card, mutated, [bases, seeds, hits, targets], x.nbytes), x)
    for draw in (False, True):

        def kept(at: list[int], out: int, draw: bool = draw) -> launches.Launch:
            return launches.keep_bases(at[0], at[1], out, draw=draw, **pass_, **shape)

        expected = draws.drawn(seeds, step, bases) if draw else bases
        same("keep_bases", on_card(card, kept, [bases, seeds], bases.nbytes), expected)


def rates(card: Any, limits: Limits, windows: int = 32_768) -> None:
    """GB/s (read and written) of each kernel and of a copy within the card that moves as many bytes as
    one_hot does."""
    contract = contracts()[0]
    stream = card.stream()
    size = launches.input_bytes(2 * windows, contract, "hwc8", "fp16")
    codes, x, other = card.allocate(windows * contract.length), card.allocate(size), card.allocate(size)
    try:
        copied = (
            2
            * size
            / seconds_each(lambda: card.copy_across(other.address, x.address, size, stream), card.drain)
        )
        limits.note(what="copy within the card", rate=copied / 1e9, unit="GB/s")
        jobs: dict[str, tuple[launches.Launch, int]] = {}
        for layout, precision in (("ncl", "fp16"), ("hwc8", "fp16")):
            launch = launches.one_hot(
                codes.address,
                x.address,
                windows,
                2 * windows,
                contract,
                both=True,
                is_singleton=False,
                layout=layout,
                precision=precision,
            )
            moved = launches.input_bytes(2 * windows, contract, layout, precision) + windows * contract.length
            jobs[f"one_hot {layout} {precision}"] = launch, moved
        batch, each = windows // 4, windows // 8
        average = {"members": 50, "batch": batch, "windows": each, "both": True, "columns": each, "start": 0}
        jobs["average_strands, 50 members"] = (
            launches.average_strands(x.address, other.address, **average),
            50 * each * 12,
        )
        plain = {"plain": windows, "length": contract.length, "start": 0, "count": windows}
        edits = (other.address,) * 3  # no window is edited here: the kernel copies every one
        jobs["mutate"] = (
            launches.mutate(codes.address, edits, x.address, **plain),
            2 * windows * contract.length,
        )
        for name, (launch, moved) in jobs.items():
            if limits.may(name):
                rate = moved / seconds_each(lambda launch=launch: card.launch(launch, stream), card.drain)
                limits.note(what=name, rate=rate / 1e9, unit="GB/s", ratio=rate / copied, of="of the copy")
    finally:
        for memory in (codes, x, other):
            memory.free()
