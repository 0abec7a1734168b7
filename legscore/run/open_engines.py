"""The engine of a run, of one ensemble or of several, and what verifies its scores."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence

from legscore.engine.base import Engine
from legscore.engine.choose import Request
from legscore.engine.open_engine import open_engine
from legscore.model.checkpoint import Checkpoint
from legscore.model.student import sd_networks
from legscore.run.input_and_models import PreparedInput, PreparedModels
from legscore.run.joined_engine import JoinedEngine
from legscore.run.options import Options
from legscore.run.verify import Verifier
from legscore.system.cores import threads_and_why
from legscore.system.log import Detail, Say
from legscore.system.memory import check_room, memory_limit_lifted

OpenEngine = Callable[[Sequence[Checkpoint], Request, Say], Engine]
"""Opens the engine of an ensemble: `legscore.engine.open_engine.open_engine`, or what stands in for it."""


def tells_sd(source: PreparedInput, models: PreparedModels, engine: Engine) -> bool:
    """Whether a student tells the SD of the scores of single sequences."""
    return engine.n_beside > 0 and source.roles.kind.windows == 1 and not models.varying


@contextlib.contextmanager
def prepare_engine(
    options: Options, source: PreparedInput, models: PreparedModels, say: Say, opener: OpenEngine | None
) -> Iterator[tuple[Engine, Verifier]]:
    """Open the engine and what verifies its scores; both are closed at the end, and so is the scorer of
    `--until-se`.

    Raises:
        LegscoreError: what was asked for cannot be served here, or does not fit the memory.
    """
    members, singleton = models.members, bool(options.singleton)
    request = Request(
        engine=options.engine,
        precision=options.precision,
        recipe=options.recipe,
        both_strands=models.rc == "construct",
        is_singleton=singleton,
        null_rate=options.null_rate,
        device=options.device,
        separate_members=models.varying,
    )
    with contextlib.ExitStack() as stack:
        if models.adaptive is not None:
            stack.callback(models.adaptive.close)
        threads, why = threads_and_why()
        say(Detail(f"threads: {threads} ({why})"))
        with memory_limit_lifted():
            engine = open_engines(models, request, say, opener)
        stack.callback(engine.close)
        verifier = Verifier(
            [*members, *sd_networks(members)] if tells_sd(source, models, engine) else members,
            engine,
            options.verify,
            source.opened.name,
            rc=models.rc,
            is_singleton=singleton,
            fidelities=engine.fidelities if isinstance(engine, JoinedEngine) else None,
        )
        stack.callback(verifier.close)
        what = f"{len(members)} model{'s' if len(members) > 1 else ''} on engine {engine.name}"
        check_room(what, verifies=verifier.share > 0)
        if verifier.share:
            say(Detail(verifier.announcement()))
        yield engine, verifier


def open_engines(models: PreparedModels, request: Request, say: Say, opener: OpenEngine | None) -> Engine:
    """The engine of the ensemble; of several ensembles one of their engines, each of which is opened here
    unless an `opener` opens them elsewhere."""
    if opener is not None or not models.ensembles:
        return (opener or open_engine)(models.members, request, say)
    engines: list[Engine] = []
    with contextlib.ExitStack() as opened:
        for one in models.ensembles:
            say(Detail(f"engine: of the ensemble {one.name}"))
            engines.append(open_engine(models.members[one.start : one.stop], request, say))
            opened.callback(engines[-1].close)
        opened.pop_all()
    return JoinedEngine(engines, [one.name for one in models.ensembles])
