"""Threads that work only once somebody knows of them.

Ctrl-C may come between the start of a thread and the return of `Thread.start`. A ThreadPoolExecutor starts
its threads when work comes, and then never waits for such a one: what the work uses is closed under it.
Whoever closes memory, a network or a card behind a thread takes it from here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def running_pool(threads: int, name: str) -> ThreadPoolExecutor:
    """A pool of so many threads, all of which have started and wait for work.

    An exception meanwhile, KeyboardInterrupt too, ends them and is raised.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix=name)
    together = threading.Barrier(threads + 1)
    try:
        for _ in range(threads):
            pool.submit(together.wait)
        together.wait()
    except BaseException:
        together.abort()
        pool.shutdown(wait=True)
        raise
    return pool


def running_thread(work: Callable[[], None], name: str) -> threading.Thread:
    """A daemon thread that does `work`; where starting it is interrupted, it ends without having begun."""
    settled, wanted = threading.Event(), threading.Event()

    def run() -> None:
        settled.wait()
        if wanted.is_set():
            work()

    thread = threading.Thread(target=run, name=name, daemon=True)
    try:
        thread.start()
        wanted.set()
    finally:
        settled.set()
    return thread
