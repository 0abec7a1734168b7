"""The plan cache under damage, refusals, kills and company; the timing cache; what fits on a card."""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import yeast_contract
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from legscore.cuda.scorer import passes
from legscore.engine import fit
from legscore.engine.arrange import arrange
from legscore.engine.plans import CHECK_BYTES, MAGIC, PlanCache, Stored, TimingCache, digest, locked, plan_key
from legscore.errors import EngineError, OutputError

GPU = {"name": "NVIDIA H200", "compute": "9.0", "multiprocessors": 132, "driver": "580"}


def key(**changes: object) -> dict[str, object]:
    values: dict[str, object] = {
        "gpu": GPU,
        "tensorrt": "11.4.0.106",
        "graph": "ab" * 32,
        "build": {"batch": 64},
        "rewrite": "1.1",
    }
    values.update(changes)
    return plan_key(values["gpu"], values["tensorrt"], values["graph"], values["build"], values["rewrite"])  # type: ignore[arg-type]


def test_every_part_of_a_key_matters_and_its_order_does_not() -> None:
    changed = [
        {"tensorrt": "11.4.0.107"}, {"graph": "cd" * 32}, {"build": {"batch": 128}}, {"rewrite": "1.2"},
        *({"gpu": {**GPU, name: other}} for name, other in (("name", "H100"), ("compute", "9.1"), ("multiprocessors", 114), ("driver", "575"))),
    ]  # fmt: skip
    names = {digest(key()), *(digest(key(**change)) for change in changed)}
    assert len(names) == 1 + len(changed)
    shuffled = dict(random.Random(0).sample([*key().items()], len(key())))
    assert digest(shuffled) == digest(key())


def checked(rest: bytes) -> bytes:
    """With the checksum that goes before it."""
    return hashlib.sha256(rest).hexdigest().encode() + b"\n" + rest


@pytest.mark.parametrize("mapped", [False, True])
def test_no_flipped_bit_is_believed(tmp_path: Path, mapped: bool) -> None:
    """Wherever it is: in the plan, the facts beside it, the key, the padding or the checksum."""
    cache, stored = PlanCache(tmp_path, mapped=mapped), Stored(bytes(range(256)), {"scratch": 4096})
    cache.write(key(), stored)
    path = cache.path(key())
    good = path.read_bytes()
    for bit in random.Random(4).sample(range(8 * len(good)), 500):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.unlink()
        path.write_bytes(bad)
        assert cache.read(key()) is None, f"bit {bit}"


@pytest.mark.parametrize("mapped", [False, True])
def test_damaged_files_are_no_plans(tmp_path: Path, mapped: bool) -> None:
    cache, stored = PlanCache(tmp_path, mapped=mapped), Stored(b"\x00plan\nwith lines\n", {"scratch": 3})
    assert cache.read(key()) is None
    cache.write(key(), stored)
    assert cache.read(key()) == stored
    path = cache.path(key())
    good = path.read_bytes()
    assert cache.read(key(rewrite="2")) is None
    os.replace(path, cache.path(key(rewrite="2")))
    assert cache.read(key(rewrite="2")) is None, "a file under another key's name"
    whole = good[len(MAGIC) + CHECK_BYTES :]
    header = json.loads(whole.split(b"\n")[0])
    other = json.dumps({**header, "facts": 3}).encode() + b"\n" + stored.plan
    for bad in (
        b"",
        MAGIC,
        good[:-1],
        good + b"x",
        good[1:],
        b"junk" + good,
        MAGIC + other,
        MAGIC + checked(other),
        MAGIC + checked(b"{}\n"),
        MAGIC + checked(whole.replace(b"scratch", b"scraped"))[:CHECK_BYTES] + whole,
    ):
        path.unlink(missing_ok=True)  # what is mapped is not cut short
        path.write_bytes(bad)
        assert cache.read(key()) is None, bad


def mapped_pages(path: Path) -> int:
    """Bytes of a mapped file that are in memory; 0 when it is not mapped."""
    inside, found = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            inside = line.endswith(str(path))
        elif inside and line.startswith("Rss:"):
            found += int(line.split()[1]) << 10
    return found


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="pages are counted in Linux's /proc")
def test_pages_of_a_mapped_plan_are_given_back(tmp_path: Path) -> None:
    cache, plan = PlanCache(tmp_path, mapped=True), np.random.default_rng(0).bytes(3 << 20)
    cache.write(key(), Stored(plan, {}))
    stored = cache.read(key())
    assert stored is not None
    assert (len(cache.path(key()).read_bytes()) - len(plan)) % 4096 == 0, "weights lie on pages"
    assert mapped_pages(cache.path(key())) >= len(plan), "the check sum read all of it"
    stored.leave_pages()
    assert mapped_pages(cache.path(key())) == 0
    assert stored.plan == plan
    cache.path(key()).unlink()
    stored.leave_pages()
    assert stored.plan == plan, "a plan in use outlives its name"
    read = PlanCache(tmp_path).read(key()) or Stored(plan, {})
    read.leave_pages()
    assert read.plan == plan


class PlanEvents(RuleBasedStateMachine):
    """Anything may happen to the file between two uses; a use never builds more than once and ends with a
    plan that loads."""

    folder: Path
    mapped: bool

    def __init__(self) -> None:
        super().__init__()
        self.cache = PlanCache(self.folder / str(random.getrandbits(60)), mapped=self.mapped)
        self.version, self.made = 0, 0

    def load(self, stored: Stored) -> str | None:
        good = stored.plan == f"version {self.version} plan".encode() + bytes(stored.plan[-8:])
        return f"engine {self.version}" if good else None

    def build(self) -> Stored:
        self.made += 1
        return Stored(
            f"version {self.version} plan".encode() + self.made.to_bytes(8, "big"), {"scratch": self.made}
        )

    @rule()
    def use(self) -> None:
        before, had = self.made, self.cache.read(key())
        stored, engine = self.cache.obtain(key(), self.build, self.load)
        assert engine == f"engine {self.version}"
        assert self.made - before == (0 if had is not None and self.load(had) else 1)
        assert self.cache.read(key()) == stored

    @rule()
    def another_tensorrt(self) -> None:
        """Everything cached is refused, although the key says it fits."""
        self.version += 1

    @rule(cut=st.integers(0, 4200), what=st.binary(max_size=3))
    def damage(self, cut: int, what: bytes) -> None:
        path = self.cache.path(key())
        if path.exists():
            damaged = path.read_bytes()[:cut] + what
            path.unlink()
            path.write_bytes(damaged)

    @rule()
    def delete(self) -> None:
        self.cache.path(key()).unlink(missing_ok=True)

    @rule()
    def failing_build(self) -> None:
        if self.cache.has(key()):
            return

        def fail() -> Stored:
            raise EngineError("no kernel for this layer")

        with pytest.raises(EngineError, match="no kernel"):
            self.cache.obtain(key(), fail, self.load)
        assert not self.cache.has(key())

    @invariant()
    def nothing_half_written(self) -> None:
        assert not [p for p in self.cache.folder.glob("*") if p.suffix not in (".plan", ".lock")]


@pytest.mark.parametrize("mapped", [False, True])
def test_plan_events(tmp_path: Path, mapped: bool) -> None:
    PlanEvents.folder, PlanEvents.mapped = tmp_path, mapped
    run_state_machine_as_test(
        PlanEvents, settings=settings(max_examples=40, stateful_step_count=20, deadline=None)
    )


def test_a_fresh_plan_that_does_not_load_is_an_error_and_is_not_kept(tmp_path: Path) -> None:
    said: list[str] = []
    cache = PlanCache(tmp_path, said.append)
    cache.write(key(), Stored(b"old", {}))
    built: list[int] = []

    def build() -> Stored:
        built.append(1)
        return Stored(b"new", {})

    with pytest.raises(EngineError, match="just built does not load"):
        cache.obtain(key(), build, lambda stored: None)
    assert built == [1]
    assert not cache.has(key())
    assert "does not load; building it again" in said[0]


def _obtain(folder: Path, made: Path) -> None:
    def build() -> Stored:
        time.sleep(0.2)
        with open(made, "a") as stream:
            stream.write("built\n")
        return Stored(b"plan", {})

    PlanCache(folder).obtain(key(), build, lambda stored: stored.plan)


def _die_holding(path: Path, ready: Path) -> None:
    with locked(path):
        ready.touch()
        time.sleep(60)


def _together(
    target: Callable[..., None], arguments: tuple[Path, Path], n: int
) -> list[multiprocessing.Process]:
    context = multiprocessing.get_context("spawn")
    started = [context.Process(target=target, args=arguments) for _ in range(n)]
    for process in started:
        process.start()
    return started  # type: ignore[return-value]


def test_processes_build_a_plan_once_and_a_kill_frees_it(tmp_path: Path) -> None:
    cache, ready = PlanCache(tmp_path / "plans"), tmp_path / "ready"
    (killed,) = _together(_die_holding, (cache.path(key()), ready), 1)
    while not ready.exists():
        assert killed.is_alive()
        time.sleep(0.01)
    waiting = _together(_obtain, (cache.folder, tmp_path / "made"), 2)
    killed.kill()
    for process in waiting:
        process.join(60)
        assert process.exitcode == 0
    assert (tmp_path / "made").read_text() == "built\n"


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "plans").write_text("a file")
    with pytest.raises(OutputError, match="cannot be written"):
        PlanCache(tmp_path / "plans").obtain(key(), lambda: Stored(b"", {}), lambda stored: None)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sets(st.integers(0, 9)), min_size=1, max_size=8))
def test_timings_of_all_builds_are_kept(
    tmp_path_factory: pytest.TempPathFactory, builds: list[set[int]]
) -> None:
    cache = TimingCache(tmp_path_factory.mktemp("timing") / "deep" / "t.cache")

    def combine(theirs: bytes, ours: bytes) -> bytes:
        return bytes(sorted({*theirs, *ours}))

    for build in builds:
        cache.merge(bytes(build), combine)
    assert {*cache.read()} == set().union(*builds)


def test_timings_that_others_may_write_are_not_read(tmp_path: Path) -> None:
    cache = TimingCache(tmp_path / "timing" / "t.cache")
    cache.merge(b"ours", lambda theirs, ours: ours)
    cache.path.parent.chmod(0o777)
    with pytest.raises(OutputError, match="others may write to the cache folder"):
        cache.read()


@given(st.integers(0, 10_000), st.integers(1, 40), st.booleans())
def test_passes_cover_every_window_once(n_windows: int, half: int, both: bool) -> None:
    cut = [*passes(n_windows, 2 * half, both)]
    assert [i for start, count in cut for i in range(start, start + count)] == [*range(n_windows)]
    assert all(count == (half if both else 2 * half) for _, count in cut[:-1])
    assert all(1 <= count * (2 if both else 1) <= 2 * half for _, count in cut)


@given(
    sizes=st.lists(st.integers(1, 100), min_size=1, max_size=50),
    shared=st.integers(0, 100),
    free=st.integers(0, 3000),
)
def test_groups_keep_the_order_and_fit(sizes: list[int], shared: int, free: int) -> None:
    groups = fit.member_groups(fit.Need(shared, tuple(sizes)), free)
    room = int(free * fit.USABLE) - shared
    if groups is None:
        assert max(sizes) > room
        return
    assert [member for group in groups for member in group] == [*range(len(sizes))]
    assert all(sum(sizes[m] for m in group) <= room for group in groups)
    for group, following in itertools.pairwise(groups):
        assert sum(sizes[m] for m in group) + sizes[following[0]] > room, "a group was closed too early"


def test_need_counts_what_a_pass_touches() -> None:
    contract = yeast_contract()
    wanted = fit.need(contract, batch=128, layout="hwc8", precision="fp16", scratch=1000, plans=[5, 300])
    assert wanted.shared == 1024 + 128 * 150 * 16 + 128 * 2 * 4 + fit.IN_FLIGHT
    assert wanted.members == (256 + fit.MEMBER_OVERHEAD, 512 + fit.MEMBER_OVERHEAD)
    more = fit.need(contract, batch=256, layout="hwc8", precision="fp16", scratch=1000, plans=[5, 300])
    assert more.shared > wanted.shared
    assert [fit.aligned(n) for n in (0, 1, 256, 257)] == [0, 256, 256, 512]
    assert np.prod([128 * 150, 16]) % fit.ALIGNMENT == 0


NAMES = ["NVIDIA H200", "NVIDIA H200", "Tesla T4"]


@pytest.mark.parametrize(("asked", "expected"), [(None, [0]), ("2", [2]), ("1,0", [1, 0]), ("0", [0])])
def test_devices(asked: str | None, expected: list[int]) -> None:
    assert fit.choose_devices(asked, NAMES) == expected
    assert fit.choose_devices("all", NAMES[:2]) == [0, 1]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("3", r"there is no GPU 3; here are 0 \(NVIDIA H200\), 1 \(NVIDIA H200\), 2 \(Tesla T4\)"),
        ("all", r"0 \(NVIDIA H200\), 1 \(NVIDIA H200\), 2 \(Tesla T4\) differ"),
        ("0,0", "GPU 0 is named twice"),
        ("cuda:0", "write a number"),
        ("", "write a number"),
        ("-1", "write a number"),
    ],
)
def test_devices_that_cannot_be(asked: str, message: str) -> None:
    with pytest.raises(EngineError, match=message):
        fit.choose_devices(asked, NAMES)
    with pytest.raises(EngineError, match="no NVIDIA GPU"):
        fit.choose_devices(asked, [])


class Plans:
    """A compiler of made-up plans: member m's plan has size `sizes[m]`, its scratch is `per_row` × batch."""

    def __init__(self, sizes: list[int], per_row: int) -> None:
        self.kept: list[str] = []
        self.sizes, self.per_row, self.built = sizes, per_row, list[tuple[int, int]]()
        self.names = [f"member{m}" for m in range(len(sizes))]

    def key(self, member: int, batch: int) -> dict[str, object]:
        return key(graph=f"{member}", build={"batch": batch})

    def build(self, member: int, batch: int) -> Stored:
        self.built.append((member, batch))
        return Stored(bytes(self.sizes[member]), {"scratch": self.per_row * batch})

    def keep(self, stored: Stored, engine: str) -> None:
        self.kept.append(stored.sha256)

    def forget(self) -> None:
        self.kept.clear()

    def open(self, stored: Stored) -> str:
        return "engine"

    def need(self, batch: int, stored: list[Stored]) -> fit.Need:
        return fit.Need(
            max(plan.facts["scratch"] for plan in stored), tuple(len(plan.plan) for plan in stored)
        )


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    per_row=st.integers(1, 9),
    free=st.integers(1, 3000),
    cached=st.sets(st.tuples(st.integers(0, 7), st.sampled_from([256, 128, 64]))),
)
def test_arranging(
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    per_row: int,
    free: int,
    cached: set[tuple[int, int]],
) -> None:
    """The largest batch that fits, in few groups; every plan built at most once, and only for batches that
    may fit."""
    plans, cache, said = Plans(sizes, per_row), PlanCache(tmp_path_factory.mktemp("plans")), list[str]()
    present = {(m, batch) for m, batch in cached if m < len(sizes)}
    for member, batch in present:
        cache.write(plans.key(member, batch), plans.build(member, batch))
    plans.built.clear()
    room = {batch: int(free * fit.USABLE) - per_row * batch for batch in (256, 128, 64)}
    fitting = [batch for batch, left in room.items() if left >= max(sizes)]
    if not fitting:
        with pytest.raises(EngineError, match="not even passes of 64 rows fit.*smaller tensorrt.batch"):
            arrange(cache, plans, [256, 128, 64], plans.need, lambda: free, said.append)
        assert sum("trying the next smaller" in line for line in said) == 3
        return
    found = arrange(cache, plans, [256, 128, 64], plans.need, lambda: free, said.append)
    assert found.batch == fitting[0]
    assert [m for group in found.groups for m in group] == [*range(len(sizes))]
    assert all(sum(sizes[m] for m in group) <= room[found.batch] for group in found.groups)
    assert len(set(plans.built)) == len(plans.built)
    assert not set(plans.built) & present
    assert {m for m, batch in [*plans.built, *present] if batch == found.batch} == {*range(len(sizes))}
    for batch in (256, 128, 64):
        if batch > found.batch and room[batch] < min(sizes):
            assert len([1 for _, built in plans.built if built == batch]) <= 1, (
                "built all members of a batch that cannot fit"
            )
    assert sum("compiling" in line for line in said) == len(plans.built)
    assert any("groups in turn" in line for line in said) == (len(found.groups) > 1)
