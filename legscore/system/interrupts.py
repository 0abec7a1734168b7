"""Signals that end a command, or stop it where it can go on later: Ctrl-C, SIGTERM (schedulers), SIGHUP (a
closed terminal).

The handler raises wherever the program happens to be, also inside a library, and not every library lets
that through: an import that a signal stops half-way can end in an AttributeError, a call-back in compiled
code can print the exception and go on. So the signal is remembered, and whatever error comes after it is
taken for the interrupt.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

_came: int | None = None
"""The first signal that came to this process's command."""


def end_on_signals() -> None:
    """From now on SIGINT raises KeyboardInterrupt, SIGTERM and SIGHUP raise SystemExit(128 + number). One
    that is ignored (nohup) stays ignored. In a thread that is not the main one this changes nothing."""
    global _came
    _came = None
    if threading.current_thread() is not threading.main_thread():
        return
    _handle(_end)


@contextlib.contextmanager
def stop_on_signals() -> Iterator[Callable[[], bool]]:
    """Whether a signal came while the block runs: for work that ends by itself at a place of its own. A
    second one ends the process at once."""
    came = False

    def handle(number: int, frame: object) -> None:
        nonlocal came
        if came:
            raise SystemExit(128 + number)
        came = True

    before = _handle(handle)
    try:
        yield lambda: came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def check() -> None:
    """Raise the interrupt that came, if one did: for loops whose bodies call what may have swallowed it."""
    if _came is not None:
        raise _exception(_came)


@contextlib.contextmanager
def interrupts_first() -> Iterator[None]:
    """Raise the interrupt in place of an error that came after it."""
    try:
        yield
    except Exception as error:
        if _came is None:
            raise
        raise _exception(_came) from error


def _handle(handler: Callable[[int, object], None]) -> dict[int, Any]:
    """Have the signals that are not ignored, as by nohup, handled so; what handled each before."""
    numbers = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    return {n: signal.signal(n, handler) for n in numbers if signal.getsignal(n) is not signal.SIG_IGN}


def _exception(number: int) -> BaseException:
    return KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number)


def _end(number: int, frame: object) -> None:
    global _came
    _came = _came or number
    raise _exception(number)
