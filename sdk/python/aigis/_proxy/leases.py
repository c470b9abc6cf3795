"""Keeps what is held alive, and lets go of what is not: one thread renews leases, and looks after our own objects."""

from __future__ import annotations

import atexit
import os
import queue
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Tuple, Type

from ..errors import AigisError

if TYPE_CHECKING:
    from .handle import Handle
    from .session import Session

#: How long an object outlives the last sign of its holder, and how often a holder gives one.
LEASE_S = 60.0
RENEW_S = 20.0
#: How often our own objects are looked at.
_SWEEP_S = 5.0

_Key = Tuple[type, str, str]


class _Keeper:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.handles: "weakref.WeakValueDictionary[_Key, Handle]" = weakref.WeakValueDictionary()
        self.sweeps: "weakref.WeakSet[Any]" = weakref.WeakSet()
        # The collector may drop a handle anywhere, even within this module: this queue is made for that.
        self.dropped: "queue.SimpleQueue[Tuple[Session, str, str]]" = queue.SimpleQueue()
        # What was borrowed is let go of later: it may be on its way to somebody else.
        self.lent: List[Tuple["Session", str, str]] = []
        self.thread: Optional[threading.Thread] = None

    def start(self) -> None:
        with self.lock:
            if self.thread is None:
                self.thread = threading.Thread(target=self.run, name="aigis-leases", daemon=True)
                self.thread.start()

    def run(self) -> None:
        rounds, next_sweep = 0, time.monotonic() + _SWEEP_S
        former: List[Tuple["Session", str, str]] = []
        while True:
            try:
                self.release(*self.dropped.get(timeout=max(0.0, next_sweep - time.monotonic())))
                continue
            except queue.Empty:
                rounds, next_sweep = rounds + 1, time.monotonic() + _SWEEP_S
            due, former = former, self.lent
            self.lent = []
            for lent in due:
                self.release(*lent)
            if rounds % int(RENEW_S / _SWEEP_S) == 0:
                self.each_handle("renew")
            for table in tuple(self.sweeps):
                table.sweep()

    def drop_later(self, lent: Tuple["Session", str, str]) -> None:
        self.lent.append(lent)

    def release(self, session: "Session", ci: str, number: str) -> None:
        # The other kind of handle for the same object may still be in use.
        if not any(key[1:] == (ci, number) for key in tuple(self.handles.keys())):
            tell(session, ci, number, "release")

    def each_handle(self, op: str) -> None:
        for handle in tuple(self.handles.values()):
            tell(handle._session, handle._ci, handle._id, op)


def tell(session: "Session", ci: str, number: str, op: str) -> None:
    """Sends a use whose answer nobody waits for."""
    try:
        session.bridge.begin({"ci": ci, "path": f"_ref.{number}.{op}", "timeout_ms": 10_000}, b'{"meta":{}}')
    except AigisError:
        pass  # Without a connection the lease runs out.


_keeper = _Keeper()


def held(kind: Type["Handle"], session: "Session", ref: Dict[str, Any], borrowed: bool) -> "Handle":
    """The one handle of that kind for an object, from now on kept alive for as long as it is referred to."""
    key = (kind, str(ref["ci"]), ref["id"])
    with _keeper.lock:
        handle = _keeper.handles.get(key)
        if handle is not None:
            return handle
        handle = _keeper.handles[key] = kind(session, ref)
    # Its owner has to know of us: what we have it from may let go of it.
    tell(session, key[1], key[2], "renew")
    drop = _keeper.drop_later if borrowed else _keeper.dropped.put
    finalizer = weakref.finalize(handle, drop, (session, key[1], key[2]))
    finalizer.atexit = False
    object.__setattr__(handle, "_finalizer", finalizer)
    _keeper.start()
    return handle


def forget(handle: "Handle") -> None:
    """Keeps a handle alive no more; who calls this releases it."""
    handle._finalizer.detach()
    with _keeper.lock:
        _keeper.handles.pop((type(handle), handle._ci, handle._id), None)


def watch(table: Any) -> None:
    """Has ``table.sweep()`` called every few seconds, for as long as there is the table."""
    _keeper.sweeps.add(table)
    _keeper.start()


def later(work: Callable[[], Any]) -> None:
    """Runs something that may take its time, on a thread of its own."""
    threading.Thread(target=work, name="aigis-expiry", daemon=True).start()


def _at_exit() -> None:
    _keeper.each_handle("release")


def _after_fork() -> None:
    # What the parent holds is the parent's.
    global _keeper
    _keeper = _Keeper()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork)
