"""A trainer's state in a file: written aside and renamed, refused when it belongs to another run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Protocol

import torch

from legscore.errors import LegscoreError, OutputError
from legscore.model.pickles import load_plain
from legscore.system.json_records import difference
from legscore.system.publish import publishing, writing


class Resumable(Protocol):
    """What is saved to a state and restored from it: `legscore.train.loop.Trainer`."""

    state_path: Path
    device: torch.device
    network: torch.nn.Module
    optimizer: torch.optim.Optimizer
    schedule: Any
    scaler: Any
    step: int
    loss_sum: float
    history: list[Any]
    best: dict[str, Any] | None
    best_record: dict[str, Any]

    def identity(self) -> dict[str, Any]:
        """What must be equal for a state to be resumed."""


def save_state(trainer: Resumable) -> None:
    """Write everything needed to go on, by rename; the sampler and its draws are functions of seed and
    step."""
    state = {
        "identity": json.dumps(trainer.identity()),
        "network": trainer.network.state_dict(),
        "optimizer": trainer.optimizer.state_dict(),
        "schedule": trainer.schedule.state_dict(),
        "scaler": trainer.scaler.state_dict(),
        "step": trainer.step,
        "loss_sum": trainer.loss_sum,
        "history": json.dumps(trainer.history),
        "best": trainer.best or {},
        "best_record": json.dumps(trainer.best_record),
    }
    with publishing(trainer.state_path) as temporary, writing(trainer.state_path):
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch reports a full disk as a RuntimeError of its zip writer
            raise OutputError(f"{trainer.state_path} cannot be written: {error}") from error


def load_state(trainer: Resumable) -> bool:
    """Put a saved state into the trainer; False when there is none.

    Raises:
        LegscoreError: it belongs to another run (naming what differs), or cannot be read.
    """
    path = trainer.state_path
    if not path.exists():
        return False
    try:
        state = load_plain(path, trainer.device)
        saved = json.loads(state["identity"])
        if not isinstance(saved, dict):
            raise ValueError("its identity is no record")
    except Exception as error:  # many kinds: pickle, zip, runtime, EOF, Unicode, Key, Index errors
        raise _unreadable(path, error) from error
    now = json.loads(json.dumps(trainer.identity()))
    if found := difference({name: saved.get(name) for name in now}, now):
        raise LegscoreError(f"{path} is the state of another run ({found}); remove it or use another -o")
    try:
        _put(trainer, state)
    except Exception as error:  # as many, for states that were put together by hand
        raise _unreadable(path, error) from error
    return True


def _unreadable(path: Path, error: Exception) -> LegscoreError:
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return LegscoreError(f"{path} cannot be read as a saved state ({reason[:160]}); remove it to start anew")


def _put(trainer: Resumable, state: dict[str, Any]) -> None:
    trainer.network.load_state_dict(state["network"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    trainer.schedule.load_state_dict(state["schedule"])
    trainer.scaler.load_state_dict(state["scaler"])
    trainer.step, trainer.loss_sum = int(state["step"]), float(state["loss_sum"])
    trainer.history = json.loads(state["history"])
    trainer.best, trainer.best_record = state["best"] or None, json.loads(state["best_record"])
