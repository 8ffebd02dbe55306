"""Where work that needs no device is done: at once, or in processes of its own while the device goes on."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from types import TracebackType
from typing import TypeVar

from caseprep_pipelines.errors import Fault

T = TypeVar("T")

WORKERS = 2
"""Processes, and pieces of work that are in their hands or wait for them: each piece holds its arrays in memory."""


class Workers:
    """Processes that begin with the first piece of work and end with the context. What they are given is pickled."""

    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._running: set[Future[object]] = set()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._end()

    def submit(self, work: Callable[[], T]) -> Callable[[], T]:
        """Waits until there is room for it; the result, or what was raised, comes when it is called for. Raises
        `Fault` then where the process died."""
        while len(self._running) >= WORKERS:
            _, self._running = wait(self._running, return_when=FIRST_COMPLETED)
        try:
            future = self._started().submit(work)
        except BrokenProcessPool:
            # another's work killed the process: its own result says so
            self._end()
            future = self._started().submit(work)
        self._running.add(future)  # type: ignore[arg-type]

        def result() -> T:
            try:
                return future.result()
            except BrokenProcessPool:
                raise Fault("A process that worked on speakers died; its memory may have been too small.") from None

        return result

    def _started(self) -> ProcessPoolExecutor:
        if self._pool is None:
            # neither torch's threads nor a GPU's context survive a fork
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(WORKERS, context, initializer=_end_with_parent)
        return self._pool

    def _end(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool, self._running = None, set()


def at_once(work: Callable[[], T]) -> Callable[[], T]:
    """As `Workers.submit`, but done here and now."""
    done = work()
    return lambda: done


def _end_with_parent() -> None:
    """A killed process leaves nobody behind who waits for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None  # noqa: S101 - it is only called in a child

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
