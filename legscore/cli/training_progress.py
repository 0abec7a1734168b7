"""What `legscore train` and `ablate` show while they train, and how signals stop them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import click

from legscore.cli.progress import ProgressBar
from legscore.system.interrupts import stop_on_signals
from legscore.train.options import Listener


class TrainingProgress(Listener):
    """What a training shows: a bar on terminals, lines in pipes. From its first step SIGINT, SIGTERM and
    SIGHUP stop it after the step under way; a second one ends the process at once. A context."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._bar = ProgressBar(quiet)
        self._shown, self._last = "", "loss -"
        self._signals = contextlib.ExitStack()
        self._came: Callable[[], bool] = lambda: False

    def __enter__(self) -> TrainingProgress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        self._signals.close()

    def begin(self) -> None:
        self._came = self._signals.enter_context(stop_on_signals())

    def stopped(self) -> bool:
        return self._came()

    def say(self, line: str) -> None:
        if not self.quiet:
            self._bar.close()
            self._shown = ""
            click.echo(line, err=True)

    def report(self, member: Any, trainer: Any, metrics: Any) -> None:
        quality = "" if metrics.valid_loss is None else f", validation loss {metrics.valid_loss:.4f}"
        if metrics.pearson is not None:
            quality += f", Pearson {metrics.pearson:.4f}, Spearman {metrics.spearman:.4f}"
        if self._bar.shows:
            self._last = f"loss {metrics.loss:.4f}{quality}"
            self.tick(member, trainer)
        elif not self.quiet:
            left = (trainer.steps - metrics.step) * trainer.recipe.batch / max(metrics.samples_per_s, 1e-9)
            click.echo(
                f"{member.name} step {metrics.step:,}/{trainer.steps:,}: loss {metrics.loss:.4f}{quality}, "
                f"{metrics.samples_per_s:,.0f} samples/s, {left / 60:,.1f} min left",
                err=True,
            )

    def tick(self, member: Any, trainer: Any) -> None:
        """The bar moves (it is drawn a few times a second)."""
        if not self._bar.shows:
            return
        if self._shown != member.name:
            self._bar.start(member.name, trainer.steps, "steps", done=trainer.step)
            self._shown = member.name
        self._bar.move_to(trainer.step)
        rate = self._bar.rate
        samples = f", {rate * trainer.recipe.batch:,.0f} samples/s" if rate else ""
        self._bar.tell(f"{self._last}{samples}")

    def test_step(self, step: int, steps: int) -> None:
        if self._shown != "range test":
            self._bar.start("range test", steps, "steps")
            self._shown = "range test"
        self._bar.move_to(step)
