"""Who reads the stream: one thread at a time, which may run what it has read itself.

Handing each call to another thread costs more than most calls do. So the thread that reads runs a call itself; if that
takes longer than :data:`RELIEF_S`, another thread takes over the reading, and the first one ends when its call has. So
one slow call holds up no other for longer than that.

Where a single call of ours is under way, its caller reads, so that its answer wakes no other thread first. The thread that
read before stands by meanwhile: it reads again when nobody has called for :data:`LENT_S`, or when several calls wait.
"""

from __future__ import annotations

import threading
import time
from typing import Callable, Optional, Sized

#: How long a call may keep its thread from reading.
RELIEF_S = 0.005
#: After so many looks with nothing to see, nobody looks until there is something again.
_LOOKS = 200
#: For how long nobody may read while the reading is left to callers.
LENT_S = 0.005


class _Turn:
    """The time in which one thread reads."""

    __slots__ = ("thread",)

    def __init__(self) -> None:
        self.thread = threading.get_ident()


class Turns:
    """The threads that read one stream, in turn."""

    def __init__(self, step: Callable[[], bool]) -> None:
        """``step`` reads and handles one message; it gives false at the end of the stream."""
        self._step = step
        self._lock = threading.Lock()
        self._turn: Optional[_Turn] = None
        #: Since when that thread runs a call, if it does, and what is done if that takes long.
        self._since: Optional[float] = None
        self._relieved: Optional[Callable[[], None]] = None
        self._asleep = False
        self._wake = threading.Event()
        self._watched = False
        #: Whether the reading is left to callers, who has read since it was looked, and what ends that.
        self._is_lent = False
        self._last: Optional[_Turn] = None
        self._is_parked = False
        self._back = threading.Event()
        #: Set by a step after which the next caller may read.
        self.may_lend = False

    def start(self) -> None:
        """Begins to read, on a thread of its own."""
        threading.Thread(target=self._read, name="aigis-bridge", daemon=True).start()

    def run(self, work: Callable[[], None], relieved: Callable[[], None]) -> bool:
        """Runs ``work`` on the thread that reads, from within a step; ``relieved`` is called if it takes long.

        Any other thread runs it just so: it keeps nobody from reading. Says whether it is this thread's turn now.
        """
        if not self._watched:
            self._watched = True
            threading.Thread(target=self._watch, name="aigis-watch", daemon=True).start()
        with self._lock:
            mine, outer = self._turn, self._relieved
            if mine is not None and mine.thread == threading.get_ident():
                self._relieved, self._since = _both(outer, relieved), time.monotonic()
            else:
                mine = None
        if self._asleep:
            self._wake.set()
        try:
            work()
        finally:
            with self._lock:
                still = mine is not None and self._turn is mine
                if still:
                    # Work may have work within it, such as a write that waits: then it is the outer one's turn again.
                    self._relieved, self._since = outer, None if outer is None else time.monotonic()
        return still

    def _read(self) -> None:
        mine = self._turn = _Turn()
        while self._step():
            if self._turn is not mine:
                return
            if self.may_lend:
                mine = self._lend()

    def _lend(self) -> _Turn:
        """Leaves the reading to callers, for as long as one after the other calls."""
        with self._lock:
            self._turn = self._last = None
            self._is_lent = True
        before: Optional[_Turn] = None
        while True:
            is_wanted = self._back.wait(None if self._is_parked else LENT_S)
            with self._lock:
                self._back.clear()
                self._is_parked = False
                if self._turn is None and (is_wanted or self._last is None):
                    self._is_lent = self.may_lend = False
                    self._turn = _Turn()
                    return self._turn
                # One who waits long says when he has gone.
                self._is_parked = self._turn is not None and self._turn is before
                before, self._last = self._turn, None

    def read_for(self, frames: Sized) -> None:
        """Reads on this thread, a caller's, until there are ``frames``; not at all if another thread does."""
        if not self._is_lent:
            return
        with self._lock:
            if not self._is_lent or self._turn is not None:
                return
            mine = self._turn = self._last = _Turn()
        goes_on = True
        try:
            while goes_on and not frames and self._turn is mine:
                goes_on = self._step()
        finally:
            with self._lock:
                if self._turn is mine:
                    self._turn = None
                is_wanted = self._is_parked or not goes_on
            if is_wanted:
                self._back.set()

    def is_callers(self) -> bool:
        """Whether a caller reads on this very thread, which must run no code but its own."""
        return self._is_lent

    def see_to_it(self) -> None:
        """Has somebody read for an answer whose caller does not."""
        if self._is_lent:
            self._back.set()

    def _watch(self) -> None:
        looks = 0
        while True:
            since = self._since
            late = 0.0 if since is None else time.monotonic() - since
            if late >= RELIEF_S:
                self._relieve(since)
            looks = looks + 1 if since is None else 0
            if looks < _LOOKS:
                time.sleep(RELIEF_S - min(late, RELIEF_S / 2))
                continue
            self._wake.clear()
            self._asleep = True
            # Whoever begins a call after this sees that it is to wake us; whoever did before is seen here.
            if self._since is None:
                self._wake.wait()
            self._asleep = False
            looks = 0

    def _relieve(self, since: Optional[float]) -> None:
        with self._lock:
            if self._since is not since:
                return
            self._since = None
            self._turn = None
            relieved, self._relieved = self._relieved, None
            is_lent = self._is_lent
        if relieved is not None:
            relieved()
        if is_lent:
            self._back.set()
        else:
            self.start()


def _both(outer: Optional[Callable[[], None]], inner: Callable[[], None]) -> Callable[[], None]:
    """Who waits for the work within waits for the work around it as well."""
    if outer is None:
        return inner

    def relieved() -> None:
        outer()
        inner()

    return relieved
