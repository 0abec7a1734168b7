"""Fixtures: toy models (random weights, no torch needed), the reference folder, the command line in this process."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from legscore.contract import HUMAN_CONSTRUCT, YEAST_CONSTRUCT, Contract, Output
from legscore.model.architecture import Architecture
from legscore.model.checkpoint import Checkpoint

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"
EXTRAS = ("is_reverse", "is_singleton")


@pytest.fixture(autouse=True, scope="session")
def _private_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    patch = pytest.MonkeyPatch()
    patch.setenv("LEGSCORE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


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


@dataclass(frozen=True)
class Ran:
    code: int
    out: str
    err: str


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    """Run `legscore ARGS` in this process, through the real entry point."""

    def run(*args: object) -> Ran:
        from legscore.cli import main

        monkeypatch.setattr(sys, "argv", ["legscore", *map(str, args)])
        capfd.readouterr()
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        out, err = capfd.readouterr()
        return Ran(code, out, err)

    return run


def random_dna(rng: np.random.Generator, length: int, letters: str = "ACGT") -> str:
    return "".join(rng.choice(list(letters), length))
