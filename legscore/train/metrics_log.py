"""Write the metrics of a training: MEMBER.metrics.jsonl beside each checkpoint, and TensorBoard's files."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from legscore.errors import LegscoreError
from legscore.system.publish import writing
from legscore.train.loop import Metrics

ENDING = ".metrics.jsonl"


class MetricsLog:
    """Appends metrics to files; a resumed training continues them."""

    def __init__(self, tensorboard: str | None = None) -> None:
        """LegscoreError when `tensorboard` names a folder and its package is missing."""
        self._board = None if tensorboard is None else _board(tensorboard)

    def write(self, folder: Path, member: str, metrics: Metrics, group: str = "") -> None:
        """One line of `folder`/MEMBER.metrics.jsonl; TensorBoard's names begin with `group`."""
        log = folder / f"{member}{ENDING}"
        with writing(log), open(log, "a") as stream:
            stream.write(json.dumps(asdict(metrics)) + "\n")
        if self._board is not None:
            for name, value in asdict(metrics).items():
                if name != "step" and value is not None:
                    self._board.add_scalar(f"{group}{member}/{name}", value, metrics.step)

    def close(self) -> None:
        if self._board is not None:
            self._board.close()


def _board(folder: str) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise LegscoreError("--tensorboard needs the tensorboard package: pip install tensorboard") from None
    return SummaryWriter(folder)  # type: ignore[no-untyped-call]
