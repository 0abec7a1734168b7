"""The one progress bar of all commands: on terminals a bar with rate and time left, elsewhere nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from legscore.cli.terminal import bar_stream

if TYPE_CHECKING:
    from legscore.system.log import StartProgress

Advance = Callable[[float], object]
"""Takes the work done since its last call; fractions add up."""


class ProgressBar:
    """One bar at a time on standard error, if that is a terminal and `quiet` was not asked for."""

    def __init__(self, quiet: bool = False) -> None:
        self.shows = not quiet and bar_stream().isatty()
        self._bar: Any = None
        self._done = 0.0

    def start(
        self,
        label: str,
        total: float | None,
        unit: str = "",
        *,
        done: float = 0,
        scaled: bool = False,
        brief: bool = False,
    ) -> Advance:
        """Show a bar, in place of the one before.

        Args:
            label: what is being done. total: of how much work; None where it is not known yet.
            unit: of the work, as in `1,024 rows/s`; none: the work is counted in steps.
            done: of it already. scaled: write large numbers as 1.02k. brief: remove the bar when it closes.

        Returns:
            What takes the work done since its last call.
        """
        self.close()
        if self.shows:
            from tqdm import tqdm

            self._done = done
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=label,
                unit=f" {unit}" if unit else "it",
                unit_scale=scaled,
                dynamic_ncols=True,
                mininterval=0.2,
                smoothing=0.1,
                leave=not brief,
                file=bar_stream(),
            )
        return self.advance

    def advance(self, work: float = 1) -> None:
        self.move_to(self._done + work)

    def move_to(self, done: float, total: float | None = None) -> None:
        """Show `done` in all; with `total`, of that much."""
        self._done = done
        if self._bar is not None:
            if total is not None:
                self._bar.total = total
            self._bar.update(int(done + 1e-6) - self._bar.n)

    def tell(self, text: str) -> None:
        """Text behind the bar, drawn when it moves next."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)

    @property
    def rate(self) -> float | None:
        """Work a second; None before it is known."""
        found: float | None = None if self._bar is None else self._bar.format_dict["rate"]
        return found

    def close(self) -> None:
        """Remove the bar; what `start` returned may still be called."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None


@contextmanager
def progress_bar(
    label: str, total: float, unit: str = "", *, quiet: bool = False
) -> Iterator[Callable[[], None]]:
    """A bar for the length of a block, removed at its end; yields what to call after each step."""
    bar = ProgressBar(quiet)
    bar.start(label, total, unit, brief=True)
    try:
        yield bar.advance
    finally:
        bar.close()


@contextmanager
def scoring_bar(quiet: bool) -> Iterator[StartProgress | None]:
    """A bar for a run, which starts it once it knows its rows; None where no bar shows."""
    bar = ProgressBar(quiet)

    def start(rows: int, members: int) -> Advance:
        return bar.start("scoring" if members == 1 else f"scoring × {members} models", rows, "rows")

    try:
        yield start if bar.shows else None
    finally:
        bar.close()
