"""Answers the host's invocations: uses of handles in any process, skills and control in a core host."""

from __future__ import annotations

import inspect
import threading
import time
from typing import TYPE_CHECKING, Any, Dict, Optional, Tuple

from .._bridge import Frame, Peer
from .._proxy.context import Call
from .._values import dump
from .._values.faults import body_of
from ..errors import AigisError, InvalidArgument, NotFound
from . import uses
from .invocation import Invocation
from .leaf import Leaf
from .pool import Pool
from .table import Table

if TYPE_CHECKING:
    from .._proxy.session import Session


class Server(Peer):
    """What a process does for its host. Its methods run on the thread that reads, and never wait."""

    session: "Session"

    def __init__(self, table: Table) -> None:
        self.table = table
        self._running: Dict[int, Invocation] = {}
        self._pool: Optional[Pool] = None
        self._pool_lock = threading.Lock()

    def invoke(self, frame: Frame) -> None:
        number = frame.header["id"]
        try:
            if "do" in frame.header:
                self.control(frame.header["do"], frame)
            elif str(frame.header.get("path", "")).startswith("_ref."):
                self._use(frame)
            else:
                self.skill(frame)
        except Exception as error:
            # Whatever it is, it is this call's: the thread that reads goes on.
            self.finish(number)
            self.refuse(number, error)

    def control(self, do: str, frame: Frame) -> None:
        """Does what the host asks of the process itself."""
        if do != "status":
            raise InvalidArgument(f"this process does not know {do!r:.40}")
        self.reply(frame.header["id"], self.status())

    def status(self) -> Dict[str, Any]:
        """What ``status`` answers."""
        return {"handles": self.table.held_by(), "plugins": {}}

    def skill(self, frame: Frame) -> None:
        """Runs a skill."""
        raise NotFound("this process has no skills of its own")

    def run(self, frame: Frame, leaf: Leaf, plugin: Any, pool: Pool, call: Call) -> None:
        """Runs ``leaf`` as the answer to an invocation.

        Raises :class:`~aigis.errors.ResourceExhausted` if too much waits already.
        """
        job = Invocation(self, frame, call, leaf, plugin)
        self._running[job.number] = job
        if leaf.is_async or (leaf.streams and _is_async_generator(leaf)):
            pool.spawn(job, job.run_async)
        elif leaf.is_quick() and not self.session.bridge.turns.is_callers() and pool.enter(job):
            try:
                self.session.bridge.turns.run(job.run, leaf.was_slow)
            finally:
                pool.leave(job)
        else:
            pool.submit(job)

    def finish(self, number: int) -> None:
        """Forgets an invocation that is answered."""
        self._running.pop(number, None)

    def cancel(self, number: int) -> None:
        job = self._running.get(number)
        if job is not None:
            job.cancel()

    def credit(self, number: int, count: int) -> None:
        job = self._running.get(number)
        if job is not None:
            job.credit(count)

    def stop(self, grace_s: float) -> None:
        # A program ends by a signal, in its own way; what ends here is the connection alone.
        timer = threading.Timer(grace_s, self.session.bridge.close)
        timer.daemon = True
        timer.start()

    def reply(self, number: int, value: Any) -> None:
        """Answers with plain data."""
        self._send({"t": "reply", "id": number}, dump(value).encode())

    def refuse(self, number: int, error: BaseException) -> None:
        """Answers with an error."""
        body = body_of(error)
        self._send({"t": "error", "id": number, "code": body["code"]}, dump(_plain(body)).encode())

    def log_failure(self, plugin: Any, error: BaseException) -> None:
        """Puts what a skill raised into its plugin's log."""
        if plugin is not None and not isinstance(error, AigisError):
            plugin.logger.error("%s", body_of(error)["data"]["exception"]["traceback"].rstrip())

    def _send(self, header: Dict[str, Any], body: bytes) -> None:
        try:
            self.session.bridge.send(header, body)
        except AigisError:
            pass  # Nobody is left to be answered.

    def _use(self, frame: Frame) -> None:
        """A use of a handle: ``_ref.ID.OP[.NAME…]``."""
        _, number, op, names = _split(str(frame.header["path"]))
        call = call_of(frame)
        caller = f"{call.role}.{call.caller}"
        if op == "release":
            self.table.release(number, caller)
            self.reply(frame.header["id"], None)
            return
        entry = self.table.use(number, caller, call.may)
        if op == "renew":
            self.reply(frame.header["id"], None)
            return
        call.effect = entry.effect
        leaf = uses.leaf_of(entry, op, names)
        pool = getattr(entry.owner, "pool", None) or self.own_pool()
        self.run(frame, leaf, entry.owner, pool, call)

    def own_pool(self) -> Pool:
        """The threads for what belongs to no plugin."""
        with self._pool_lock:
            if self._pool is None:
                self._pool = Pool("callbacks", 32)
            return self._pool


def call_of(frame: Frame) -> Call:
    """The call that an invocation is."""
    header = frame.header
    left = header.get("timeout_ms")
    return Call(
        caller=str(header.get("caller", "")),
        role=str(header.get("role", "")),
        id=str(header.get("call", "")),
        deadline=time.monotonic() + left / 1000 if isinstance(left, int) and left >= 0 else None,
        trace=header["traceparent"] if isinstance(header.get("traceparent"), str) else None,
        may=str(header.get("may", "")),
    )


def _split(path: str) -> Tuple[str, str, str, Tuple[str, ...]]:
    parts = path.split(".")
    if len(parts) < 3:
        raise InvalidArgument(f"{path:.60} is no use of a handle: _ref.ID.OP")
    return parts[0], parts[1], parts[2], tuple(parts[3:])


def _is_async_generator(leaf: Leaf) -> bool:
    return inspect.isasyncgenfunction(leaf.value)


def _plain(body: Any) -> Any:
    """An error's body of texts alone, where there is no skill whose values could be in it."""
    if isinstance(body, dict):
        return {str(key): _plain(value) for key, value in body.items()}
    if isinstance(body, (list, tuple)):
        return [_plain(item) for item in body]
    return body if body is None or isinstance(body, (bool, int, float, str)) else str(body)
