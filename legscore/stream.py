"""Threads between stages: bounded queues, order kept, exceptions cross, and every wait has a way out."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
U = TypeVar("U")
POLL_S = 0.1


class _End:
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
        for item in items:
            yield function(item)
    finally:
        close(items)


def background(items: Iterable[T], depth: int, name: str, on_stop: Callable[[], None] = lambda: None) -> Generator[T, None, None]:
    """Iterate `items` in a thread, at most `depth` ahead.

    The thread starts with the first item asked for. Its exception is raised here, where its next item would have come.
    Closing this generator stops the thread (after the item it is at) and closes `items`. When that happens before the end,
    `on_stop` is called first, so that the item the thread is at can be cut short.
    """
    waiting: queue.Queue[Any] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def put(item: Any) -> bool:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=POLL_S)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        iterator: Iterator[T] = iter(items)
        end = _End()
        try:
            try:
                for item in iterator:
                    if not put(item):
                        break
            finally:
                close(iterator)
        except BaseException as error:  # crosses to the consumer, whatever it is
            end = _End(error)
        put(end)

    thread = threading.Thread(target=work, name=f"legscore-{name}", daemon=True)
    thread.start()
    ended = False
    try:
        while True:
            try:
                item = waiting.get(timeout=POLL_S)
            except queue.Empty:
                if not thread.is_alive() and waiting.empty():
                    raise RuntimeError(f"the {name} thread ended without a word") from None
                continue
            if isinstance(item, _End):
                ended = True
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stop.set()
        if not ended:
            on_stop()
        thread.join()


def in_flight(items: Iterable[T], submit: Callable[[T], Future[U]], depth: int) -> Generator[tuple[T, U], None, None]:
    """Submit items and yield (item, result) in order, keeping up to `depth` submitted."""
    pending: deque[tuple[T, Future[U]]] = deque()
    try:
        for item in items:
            pending.append((item, submit(item)))
            if len(pending) >= depth:
                done, future = pending.popleft()
                yield done, future.result()
        while pending:
            done, future = pending.popleft()
            yield done, future.result()
    finally:
        for _, future in pending:
            future.cancel()
        close(items)


def gathered(futures: Sequence[Future[T]]) -> Future[list[T]]:
    """One future of all results, in order; it fails with the first failure. Nothing else may wait for the given ones."""
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
