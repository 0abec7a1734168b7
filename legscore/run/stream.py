"""Threads between stages: bounded queues, order kept, exceptions cross, and every wait has a way out.

Items are parts of megabytes. A generator that waits at `yield` keeps what its local names stand for, so no
name here stands for an item that was handed on: each stage would hold one more part than is under way.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from legscore.system.threads import running_thread

T = TypeVar("T")
U = TypeVar("U")
POLL_S = 0.1


class _EndError(Exception):
    """Closes a queue; carries the exception that ended the stage, if one did."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


def close(items: object) -> None:
    """Close a generator; anything else has nothing to close."""
    if isinstance(items, Generator):
        items.close()


def apply(function: Callable[[T], U], items: Iterable[T]) -> Generator[U, None, None]:
    """`map`, but closing it closes `items`."""
    try:
        yield from map(function, items)
    finally:
        close(items)


def background(
    items: Iterable[T], depth: int, name: str, on_stop: Callable[[], None] = lambda: None
) -> Generator[T, None, None]:
    """Iterate `items` in a thread, at most `depth` ahead: an item is begun only once fewer than `depth` wait.

    The thread starts with the first item asked for. Its exception is raised here, where its next item would
    have come. Closing this generator stops the thread (after the item it is at) and closes `items`. When that
    happens before the end, `on_stop` is called first, so that the item the thread is at can be cut short.
    """
    waiting: queue.Queue[Any] = queue.Queue()
    room = threading.Semaphore(depth)
    stop = threading.Event()

    def wanted() -> bool:
        while not stop.is_set():
            if room.acquire(timeout=POLL_S):
                return True
        return False

    def work() -> None:
        iterator: Iterator[T] = iter(items)
        end = _EndError()
        try:
            try:
                while wanted():
                    waiting.put(next(iterator))
            except StopIteration:
                pass  # that was the last
            finally:
                close(iterator)
        except BaseException as error:  # crosses to the consumer, whatever it is
            end = _EndError(error)
        waiting.put(end)

    thread: threading.Thread | None = None

    def taken() -> Any:
        """The next item, which nothing here then holds; _EndError is raised after the last."""
        while True:
            try:
                item = waiting.get(timeout=POLL_S)
            except queue.Empty:
                if not (thread and thread.is_alive()) and waiting.empty():
                    raise RuntimeError(f"the {name} thread ended without a word") from None
                continue
            if isinstance(item, _EndError):
                raise item
            room.release()
            return item

    ended = False
    try:
        thread = running_thread(work, f"legscore-{name}")
        while True:
            yield taken()
    except _EndError as end:
        ended = True
        if end.error is not None:
            raise end.error from None
    finally:
        stop.set()
        if not ended:
            on_stop()
        if thread:  # else Ctrl-C came as it was starting, and it has touched no item
            thread.join()


def in_flight(
    items: Iterable[T | None], submit: Callable[[T], Future[U]], depth: int
) -> Generator[tuple[T, U], None, None]:
    """Submit items and yield (item, result) in order, keeping up to `depth` submitted. None among the items
    says that no more come before some of these have ended: the oldest is then waited for.

    When an item cannot be had or submitted, results that are there by then come first, and the error after
    them.
    """
    pending: deque[tuple[T, Future[U]]] = deque()

    def oldest() -> tuple[T, U]:
        result = pending[0][1].result()  # one that failed stays: none after it is given
        return pending.popleft()[0], result

    def is_there() -> bool:
        future = pending[0][1]
        return future.done() and not future.cancelled() and future.exception() is None

    try:
        try:
            for item in items:
                if item is not None:
                    pending.append((item, submit(item)))
                if len(pending) >= (depth if item is not None else 1):
                    del item
                    yield oldest()
        except Exception:
            while pending and is_there():
                yield oldest()
            raise
        while pending:
            yield oldest()
    finally:
        for _, future in pending:
            future.cancel()
        close(items)


def gathered(futures: Sequence[Future[T]]) -> Future[list[T]]:
    """One future of all results, in order; it fails with the first failure. Nothing else may wait for the
    given ones."""
    whole: Future[list[T]] = Future()
    if not futures:
        whole.set_result([])
    left = len(futures)
    lock = threading.Lock()

    def finished(_: Future[T]) -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last and whole.set_running_or_notify_cancel():
            try:
                whole.set_result([future.result() for future in futures])
            except BaseException as error:
                whole.set_exception(error)

    for future in futures:
        future.add_done_callback(finished)
    return whole
