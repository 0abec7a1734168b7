"""Bars for those who call from Python: tqdm's, on by default in notebooks."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

Bar = bool | None
"""Whether a bar is shown; None: in notebooks only."""
DELAY_S = 0.5
"""Work that is done sooner gets no bar."""


def in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel. Imports nothing."""
    shell = sys.modules.get("IPython")
    found = shell.get_ipython() if shell is not None and hasattr(shell, "get_ipython") else None
    return found is not None and hasattr(found, "kernel")


@contextmanager
def progress_bar(
    bar: Bar, label: str, total: float | None, unit: str = "rows"
) -> Iterator[Callable[[float], object]]:
    """A bar for the length of a block.

    Args:
        bar: whether to show one.
        label: what is being done. total: of how much work; None where it is not known.
        unit: of the work.

    Yields:
        What takes the work done since its last call, from any thread; fractions add up.
    """
    if not (in_notebook() if bar is None else bar):
        yield lambda work: None
        return
    shown, lock = _tqdm(desc=label, total=total, unit=f" {unit}", delay=DELAY_S), threading.Lock()
    done = 0.0

    def advance(work: float = 1) -> None:
        nonlocal done
        with lock:
            done += work
            shown.update(int(done + 1e-6) - shown.n)

    try:
        yield advance
    finally:
        shown.close()


def _tqdm(**settings: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets the bar is text: fine
        from tqdm.auto import tqdm
    return tqdm(unit_scale=False, dynamic_ncols=True, mininterval=0.2, leave=False, **settings)
