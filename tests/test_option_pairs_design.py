"""Every option of `design` has an effect on the designs or on what is recorded of them, also beside others that
touch the same thing: else it is refused."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from conftest import Ran, one_line
from test_design import folder
from test_option_pairs import Telling, names_of, refused, walk, words

from legscore.cli import design
from legscore.design import judge, make

__all__ = ["folder"]
Cli = Callable[..., Ran]
Given = dict[str, tuple[Any, ...]]
WITHOUT_EFFECT = {"output", "fasta", "report", "plot", "force", "quiet", "threads"}
"""Files of their own, and what is told."""
CURVE: Given = {"mutations": ("0:8:4",), "mutation": ("sub3",), "n": (22,), "seed": (9,), "rc": ("none",)}
ENGINE: Given = {"engine": ("torch",), "precision": ("bf16",), "device": ("1",)}
OPTIONS: Given = {
    "target": ("4:8",), "n": (6,), "start": ("starts.fa",), "length": (70,), "keep": ("10:TATAAA", "30-60"), "avoid": ("CG",),
    "gc": ("30-35",), "max_homopolymer": (2,), "min_distance": (62,), "best_of": (3,), "calls": (90,), "seed": (9,),
    "steps": (5,), "shift": (10,), "start_mutations": (60,), "emphasis": (2.5,), "feed": ("sample",),
    "check": ("check.safetensors",), "training": ("starts.fa",), "models": ("models/m0.safetensors",),
    "generator": ("g.safetensors",), "method": ("evolve",), "mutation_curve": (),
} | ENGINE  # fmt: skip
TOUCH = (
    ("target", "n", "start", "length", "seed"),
    ("keep", "avoid", "gc", "max_homopolymer", "min_distance"),
    ("keep", "start", "seed"),
    ("best_of", "calls", "seed"),
    ("steps", "shift", "start_mutations", "emphasis", "feed", "start"),
    ("check", "training", "start", "models", "rc"),
    ("engine", "precision", "device"),
)
RECORDED = {*ENGINE, "calls"}
"""The stand-in says what it was asked for; a search may need fewer calls than it was given."""


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Scores by a stand-in that tells windows, members and strands apart; the generator itself in PyTorch."""
    torch = pytest.importorskip("torch", reason="generators need an engine; PyTorch is one")
    from legscore.generate.torch_denoiser import TorchDenoiser
    from legscore.model.legnet import from_checkpoint

    def denoiser(checkpoint: Any, request: Any, say: Any) -> Any:
        network = from_checkpoint(checkpoint).eval()
        return TorchDenoiser(network, checkpoint.contract, torch.device("cpu"), torch.float32), None

    monkeypatch.setattr(judge, "open_engine", lambda members, request, say: Telling(members, request))
    monkeypatch.setattr(make, "open_denoiser", denoiser)
    monkeypatch.chdir(folder)
    return folder


def written(out: Path) -> Any:
    """The designs without the number of their draw, and what is recorded of them."""
    table = pq.read_table(out)
    metadata = json.loads(table.schema.metadata[b"legscore"])
    columns = [name for name in table.column_names if name != "seed"]
    return repr(table.select(columns).to_pydict()), json.dumps(metadata, sort_keys=True)


def test_every_option_is_walked() -> None:
    assert set(names_of(design.command)) - {*OPTIONS, *CURVE} == WITHOUT_EFFECT


@pytest.mark.parametrize(
    ("base", "least"),
    [
        ({"generator": ("g.safetensors",), "steps": (3,)}, 0),
        ({"method": ("greedy",), "calls": (1500,)}, 12),
        ({"method": ("evolve",), "calls": (64,)}, 12),
        ({"method": ("greedy",), "calls": (1500,), "start": ("starts.fa",)}, 8),
    ],
    ids=["generator", "greedy", "evolve", "greedy-from"],
)
def test_options_of_design(here: Path, cli: Cli, tmp_path: Path, base: Given, least: int) -> None:
    count = itertools.count()

    def one(given: Given) -> Any:
        out = tmp_path / f"o{next(count)}.parquet"
        given = {"target": ("9",), "n": (4,), "models": ("models",), **base, **given}
        if "keep" in given:
            given["keep"] = given["keep"][:1] if "start" not in given else given["keep"][1:]
        ran = cli("design", "-o", out, "-q", *words(design.command, given))
        return None if refused(ran) else written(out)

    walked = {key: value for key, value in (OPTIONS | {"rc": ("none",)}).items() if base.get(key) != value}
    pairs = () if "generator" in base else TOUCH  # its toy network tells few things apart at once
    idle, accepted = walk(walked, one, lambda a, b: any(a in g and b in g for g in pairs), RECORDED)
    assert idle == [], "\n".join(idle)
    assert accepted >= least


def test_options_of_the_mutation_curve(here: Path, cli: Cli, tmp_path: Path) -> None:
    count = itertools.count()

    def one(given: Given) -> Any:
        out = tmp_path / f"o{next(count)}.parquet"
        base: Given = {
            "mutation_curve": (),
            "start": ("starts.fa",),
            "models": ("models",),
            "mutations": ("0:6:3",),
        }
        ran = cli("design", "-o", out, "-q", "--threads", 1, *words(design.command, {**base, **given}))
        if refused(ran):
            return None
        table = pq.read_table(out)
        return repr(table.to_pydict()), (table.schema.metadata or {})[b"legscore"]

    walked = {
        **CURVE,
        **{key: value for key, value in OPTIONS.items() if key not in (*CURVE, "mutation_curve", "start")},
    }
    idle, accepted = walk(walked, one, lambda a, b: a in CURVE and b in CURVE, RECORDED)
    assert idle == [], "\n".join(idle)
    assert accepted == 10


def test_a_seed_without_draws_is_refused(here: Path, cli: Cli, tmp_path: Path) -> None:
    given = ["--method", "greedy", "--from", "starts.fa", "--target", "9", "--seed", "3"]
    one_line(
        cli("design", "-o", tmp_path / "d.parquet", *given), "--seed has no effect here", "draws nothing"
    )
