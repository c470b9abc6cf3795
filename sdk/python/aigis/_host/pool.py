"""The threads that a plugin's skills run on, and the loop of those that are coroutines."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, Callable, Coroutine, Deque, Dict, Optional, Set

from ..errors import ResourceExhausted, Unavailable

if TYPE_CHECKING:
    import asyncio

    from .invocation import Invocation

#: How many calls wait for a thread before further ones are refused.
MAX_QUEUED = 256
#: How many coroutines of one plugin may be under way.
MAX_TASKS = 1024
#: How long a thread without work stays.
_IDLE_S = 30.0


class Pool:
    """Runs the calls of one plugin: up to ``limit`` at once, on its own threads or their callers'; the rest wait."""

    def __init__(self, name: str, limit: int) -> None:
        self._name = name
        self._limit = max(1, limit)
        self._jobs: Deque["Invocation"] = deque()
        self._running: Set["Invocation"] = set()
        self._tasks: Set["Invocation"] = set()
        self._threads = 0
        self._idle = 0
        self._closed = False
        self._lock = threading.Lock()
        #: Told when there is a job that may run, and when all have ended.
        self._work_there = threading.Condition(self._lock)
        self._all_over = threading.Condition(self._lock)

    def submit(self, job: "Invocation") -> None:
        """Runs ``job.run()`` as soon as a thread is free.

        Raises :class:`~aigis.errors.ResourceExhausted` if too many wait already.
        """
        with self._lock:
            free = max(0, self._limit - len(self._running))
            self._admit(len(self._jobs) < MAX_QUEUED + free, f"{MAX_QUEUED} calls wait already")
            self._jobs.append(job)
            self._staff()

    def enter(self, job: "Invocation") -> bool:
        """Takes a place for a call that runs on its caller's own thread; whether there is one free."""
        with self._lock:
            if self._closed or self._jobs or len(self._running) >= self._limit:
                return False
            self._running.add(job)
            return True

    def leave(self, job: "Invocation") -> None:
        """Gives the place back."""
        with self._lock:
            self._gone(self._running, job)
            self._staff()

    def spawn(self, job: "Invocation", run: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs a coroutine for ``job`` on the loop.

        Raises :class:`~aigis.errors.ResourceExhausted` if too many are under way.
        """
        with self._lock:
            self._admit(len(self._tasks) < MAX_TASKS, f"{MAX_TASKS} coroutines are under way")
            self._tasks.add(job)
        running = loop()

        def begin() -> None:
            task = running.create_task(run())
            job.task = task
            task.add_done_callback(lambda _: self._end_task(job))

        running.call_soon_threadsafe(begin)

    def _admit(self, room: bool, why: str) -> None:
        if self._closed:
            raise Unavailable(f"{self._name} is ending", data={"sent": False})
        if not room:
            raise ResourceExhausted(f"{self._name} is busy: {why}", hint="call less at once, or raise CONCURRENCY")

    def _staff(self) -> None:
        """Sees to it that somebody takes the next job, if it may run now."""
        if not self._jobs or len(self._running) >= self._limit:
            return
        if self._idle >= len(self._jobs):
            self._work_there.notify()
        elif self._threads < self._limit:
            self._threads += 1
            threading.Thread(target=self._work, name=f"aigis-{self._name}", daemon=True).start()

    def _work(self) -> None:
        while True:
            with self._lock:
                self._idle += 1
                while not self._jobs or len(self._running) >= self._limit:
                    if not self._work_there.wait(_IDLE_S) and not self._jobs:
                        self._idle -= 1
                        self._threads -= 1
                        return
                self._idle -= 1
                job = self._jobs.popleft()
                self._running.add(job)
            try:
                job.run()
            finally:
                with self._lock:
                    self._gone(self._running, job)
                del job

    def _end_task(self, job: "Invocation") -> None:
        with self._lock:
            self._gone(self._tasks, job)

    def _gone(self, where: Set["Invocation"], job: "Invocation") -> None:
        where.discard(job)
        if self._closed:
            self._all_over.notify_all()

    def close(self, grace_s: float) -> bool:
        """Takes no further calls and waits for those there are; whether all have ended."""
        until = time.monotonic() + grace_s
        with self._lock:
            self._closed = True
            while self._running or self._jobs or self._tasks:
                left = until - time.monotonic()
                if left <= 0:
                    return False
                self._all_over.wait(left)
            return True

    def status(self) -> Dict[str, Any]:
        """Threads and queue, as ``status`` tells them."""
        with self._lock:
            given_up = [job.given_up_at for job in self._running if job.given_up_at is not None]
            full = len(given_up) >= self._limit
            return {
                "running": len(self._running) + len(self._tasks),
                "queued": len(self._jobs),
                "abandoned": len(given_up),
                "exhausted_s": round(time.monotonic() - max(given_up), 3) if full else 0.0,
            }


_loop: "Optional[asyncio.AbstractEventLoop]" = None
_loop_lock = threading.Lock()


def loop() -> "asyncio.AbstractEventLoop":
    """The one loop that coroutines of skills run on, on a thread of its own."""
    global _loop
    import asyncio  # Only where it is needed: it takes its time to load.

    with _loop_lock:
        if _loop is None:
            _loop = asyncio.new_event_loop()
            threading.Thread(target=_loop.run_forever, name="aigis-loop", daemon=True).start()
        return _loop


def _after_fork() -> None:
    global _loop, _loop_lock
    _loop, _loop_lock = None, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
