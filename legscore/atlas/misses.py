"""Scores for alleles in tiles that an atlas does not have: the models and the engine of its manifest."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa

from legscore.atlas.contents import Contents
from legscore.atlas.fitting import check_models
from legscore.atlas.options import LookupOptions
from legscore.engine.base import Engine
from legscore.engine.choose import Request
from legscore.engine.open_engine import open_engine
from legscore.errors import EngineError, LegscoreError, ModelError
from legscore.model.checkpoint import Checkpoint
from legscore.model.ensemble import open_members
from legscore.rows.reduce import Results, reduce_scores
from legscore.rows.schema import KINDS
from legscore.rows.window import Windower
from legscore.system.json_records import difference
from legscore.system.log import Say


class MissScorer:
    """Scores pairs of sequences as the run did that made an atlas.

    Attributes:
        engine: what scores. is_other: whether it is not the atlas's.
    """

    def __init__(
        self, contents: Contents, members: list[Checkpoint], engine: Engine, *, is_other: bool
    ) -> None:
        settings = contents.manifest["options"]
        self.engine, self.is_other = engine, is_other
        self._windower = Windower(
            members[0].contract, KINDS["pair"], settings["sequence_is"], settings["rc"], settings["max_n"]
        )

    def __call__(self, ref: pa.Array, alt: pa.Array) -> Results:
        """Results of pairs of sequences."""
        windows = self._windower({"ref_sequence": ref, "alt_sequence": alt})
        if windows.batch.n_windows:
            scores = self.engine.score(windows.batch)
        else:
            scores = np.empty((self.engine.n_members, 0), dtype=np.float32)
        return reduce_scores(scores, windows.index_NKS, windows.status_N, windows.n_count_N)


@contextlib.contextmanager
def opened_scorer(options: LookupOptions, contents: Contents, say: Say) -> Iterator[MissScorer | None]:
    """What scores misses; None where they are not scored. Models that are given are compared all the same.

    Raises:
        LegscoreError: other models than the atlas's, or its engine cannot be had here.
    """
    if not options.score_misses and not options.models:
        yield None
        return
    members = _members(options, contents, say)
    if not options.score_misses:
        yield None
        return
    engine = _engine(options, contents, members, say)
    with contextlib.closing(engine):
        found = difference(contents.manifest["engine"], engine.describe(), words=("was", "is here"))
        if found and not options.allow_other_engine:
            raise EngineError(
                f"the engine here is not that of the atlas {contents.folder}: {found}; score misses where it "
                "was built, or add --allow-other-engine"
            )
        if found:
            say(f"misses are scored by another engine than the atlas: {found}")
        yield MissScorer(contents, members, engine, is_other=bool(found))


def _members(options: LookupOptions, contents: Contents, say: Say) -> list[Checkpoint]:
    members = open_members(options.models, False, say)
    try:
        check_models(members, contents)
    except ModelError as error:
        if options.models:
            raise
        raise ModelError(f"{error} (without -m these are the bundled ones)") from None
    how = contents.manifest["variants"]
    if how.get("context") == "genome":
        members = [replace(one, contract=one.contract.in_genome(how["length"])) for one in members]
    return members


def _engine(options: LookupOptions, contents: Contents, members: list[Checkpoint], say: Say) -> Engine:
    """The engine of the atlas; with --allow-other-engine the one asked for, or another where that cannot be
    had."""
    its, settings = contents.manifest["engine"], contents.manifest["options"]
    request = Request(
        engine=str(its["engine"]),
        precision="auto" if its["engine"] == "null" else str(its["precision"]),  # null has none
        both_strands=settings["rc"] == "construct",
        is_singleton=bool(settings["singleton"]),
        device=options.device,
    )
    other = replace(
        request,
        engine=request.engine if options.engine == "auto" else options.engine,
        precision=request.precision if options.precision == "auto" else options.precision,
    )
    if other != request and not options.allow_other_engine:
        raise EngineError(
            f"the atlas {contents.folder} was scored by engine {request.engine} in {request.precision}; add "
            "--allow-other-engine to score misses otherwise"
        )
    try:
        return open_engine(members, other, say)
    except LegscoreError as error:
        if not options.allow_other_engine or other != request:
            raise
        say(f"the engine of the atlas cannot be had here ({error}); another one scores misses")
        return open_engine(members, replace(request, engine="auto", precision="auto"), say)
