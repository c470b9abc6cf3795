"""The connection to the host: calls go out, answers and invocations come in."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import platform
import signal
import threading
from collections import deque
from typing import Any, Deque, Dict, Optional, Sized

from ..errors import AigisError, FailedPrecondition, Internal, ResourceExhausted, Unavailable
from .exchange import Exchange
from .frames import Frame, Reader, Violation, pack
from .link import Link
from .turns import Turns

#: How long either side waits for the other's hello.
HELLO_S = 10.0
#: How many bytes may wait for a writer that is at it before the next one waits itself.
_ROOM = 1024 * 1024
#: How many calls a host lets one process have under way. One that sends more before it reads is cut off.
MAX_CALLS = 1_024
#: Signals whose handlers a program may have set.
_SIGNALS = (signal.SIGTERM, signal.SIGALRM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


class Peer:
    """What a process does for its host; each method runs on the thread that reads, and must not wait."""

    def invoke(self, frame: Frame) -> None:
        """Answers an invocation, later."""

    def cancel(self, number: int) -> None:
        """An invocation's answer is wanted no more."""

    def credit(self, number: int, count: int) -> None:
        """An invocation's stream may send ``count`` further items."""

    def stop(self, grace_s: float) -> None:
        """The host wants the process to end."""

    def lost(self) -> None:
        """The connection is gone."""


class Bridge:
    """One connection to the host; all methods are safe on any thread."""

    def __init__(self, link: Link, mode: str, peer: Optional[Peer] = None) -> None:
        self._link = link
        self._peer = peer or Peer()
        self._mode = mode
        self._numbers = itertools.count(1)
        self._pending: Dict[int, Exchange] = {}
        self._out: Deque[bytes] = deque()
        self._waiting = 0
        self._writing = threading.Lock()
        self._ending = threading.Lock()
        self._greeted = threading.Event()
        self._why: Optional[AigisError] = None
        self._closed = False
        self._reader = Reader(link.receive)
        self._messages = self._reader.messages()
        #: The thread that read last.
        self._reading = 0
        #: Whether the call that is under way could read for itself.
        self._lends = False
        #: Who reads; a peer may have it run short calls.
        self.turns = Turns(self._step)
        #: What the host said of itself and of this process.
        self.welcome: Dict[str, Any] = {}

    def open(self, version: str) -> "Bridge":
        """Says hello, and waits for the host's.

        Raises the error by which the host refused, or :class:`~aigis.errors.Unavailable`.
        """
        hello = {
            "aigis": 1,
            "mode": self._mode,
            "pid": os.getpid(),
            "python": platform.python_version(),
            "sdk": version,
        }
        self.send({"t": "hello"}, json.dumps(hello).encode())
        self.turns.start()
        if not self._greeted.wait(HELLO_S):
            self.close()
            raise Unavailable(f"the host did not say hello within {HELLO_S:.0f} s", data={"sent": False})
        if self._closed:
            raise self._end(sent=False)
        return self

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._closed

    def begin(self, header: Dict[str, Any], body: bytes, flush: bool = True) -> Exchange:
        """Sends a ``call``, or leaves it to the next :meth:`flush`, and gives what its answer will come by.

        Raises :class:`~aigis.errors.Unavailable` with ``sent`` false if the connection is gone, and
        :class:`~aigis.errors.ResourceExhausted` if too many calls are under way.
        """
        if len(self._pending) >= MAX_CALLS:
            message = f"{len(self._pending)} calls of this process are under way"
            raise ResourceExhausted(message, hint="wait for some of them to end", data={"sent": False})
        number = next(self._numbers)
        exchange = self._pending[number] = Exchange(self, number)
        try:
            self._put({"t": "call", "id": number, **header}, body)
            if flush:
                self.flush()
            else:
                self._lends = False
                self.turns.see_to_it()
        except AigisError:
            self._pending.pop(number, None)
            raise
        return exchange

    def wait_for(self, frames: Sized, alone: bool) -> None:
        """Sees to it that somebody reads for ``frames``: whoever waits for them, where that is ``alone`` and may."""
        self._lends = alone and len(self._pending) <= 1 and self._may_read_here()
        if self._lends:
            self.turns.read_for(frames)
            if self._reading == threading.get_ident():
                self._reading = 0
        if not frames or self._pending:
            self.turns.see_to_it()

    def _may_read_here(self) -> bool:
        """Whether nothing can break into a step on this thread, half of which would spoil the stream.

        Handlers of signals run on the main thread. Nobody types a Ctrl-C to a plugin; any other handler counts.
        """
        if self._mode == "core":
            return False  # It is called more than it calls.
        if threading.get_ident() != threading.main_thread().ident:
            return True
        return self._mode == "run" and not any(map(callable, map(signal.getsignal, _SIGNALS)))

    def forget(self, number: int) -> None:
        """Cancels a call, unless it has ended."""
        if self._pending.pop(number, None) is not None and not self._closed:
            try:
                self.send({"t": "cancel", "id": number})
            except AigisError:
                pass  # With the connection the call is gone as well.

    def send(self, header: Dict[str, Any], body: bytes = b"") -> None:
        """Sends a message. Whoever writes already takes along what others have left.

        Raises :class:`~aigis.errors.Unavailable` if the connection is gone.
        """
        self._put(header, body)
        # The thread that reads writes before it waits: once for all messages that came together.
        if self._reading != threading.get_ident():
            self._flush(False)

    def flush(self) -> None:
        """Writes what is still to be written, unless somebody does already."""
        self._flush(False)

    def _put(self, header: Dict[str, Any], body: bytes) -> None:
        for piece in pack(header, body):
            if self._closed:
                raise self._end(sent=False)
            self._out.append(piece)
            # Only a hint, and so without a lock: it keeps a flood from filling memory.
            self._waiting += len(piece)
            if self._waiting > _ROOM:
                if self._reading == threading.get_ident():
                    self.turns.run(lambda: self._flush(True), _nothing)
                else:
                    self._flush(True)

    def _flush(self, wait: bool) -> None:
        while self._out and self._writing.acquire(wait):
            try:
                pieces = []
                while self._out:
                    pieces.append(self._out.popleft())
                self._waiting = 0
                if pieces:
                    self._link.send(b"".join(pieces) if len(pieces) > 1 else pieces[0])
            except (OSError, ValueError):
                self._end_of_line()
                return
            finally:
                self._writing.release()

    def close(self) -> None:
        """Ends the connection; calls that run fail."""
        self._end_of_line()

    def fail(self, error: AigisError) -> None:
        """Tells the host why this process cannot go on."""
        body = {"code": error.code, "message": error.message, "hint": error.hint, "data": error.data}
        self.send({"t": "error", "code": error.code}, json.dumps(body, default=str).encode())

    def _step(self) -> bool:
        """Reads and handles one message; whether there may be more."""
        # What this thread has answered goes out before it waits; what another one has, before anything else. Not even
        # for a host that takes nothing may a thread stop to read: two that wait for each other would wait for ever.
        before, self._reading = self._reading, threading.get_ident()
        if self._out and (self._reading != before or not self._reader.has_more()):
            if not self.turns.run(self.flush, _nothing):
                return True
        try:
            frame = next(self._messages, None)
            if frame is not None:
                self._take(frame)
                return True
        except _Dismissed as error:
            self._why = error.args[0]
        except Violation as error:
            self._why = Unavailable(f"the host broke the bridge's rules: {error}", data={"sent": False})
            with contextlib.suppress(AigisError):
                self.fail(self._why)
        except OSError:
            pass  # The connection broke; what that means is the same as its end.
        except Exception as error:
            self._why = Internal(f"the connection to the host is given up: {type(error).__name__}: {error}")
        self._end_of_line()
        return False

    def _take(self, frame: Frame) -> None:
        kind, number = frame.kind, frame.header.get("id")
        if kind in _ANSWERS and number is not None:
            over = kind == "end" or kind == "error" or (kind == "reply" and not frame.header.get("stream"))
            exchange = self._pending.pop(number, None) if over else self._pending.get(number)
            if exchange is not None:
                exchange.put(frame)
            if self._lends and not self._pending:
                self.turns.may_lend = True
        elif kind == "hello":
            self.welcome = _object(frame.body)
            if self.welcome.get("aigis") != 1:
                raise _Dismissed(FailedPrecondition("the host speaks another version of the bridge"))
            self._greeted.set()
        elif kind == "error":
            from .._values.faults import error_of

            raise _Dismissed(error_of(_object(frame.body)))
        elif kind == "stop":
            self._peer.stop(frame.header.get("grace_ms", 0) / 1000)
        elif number is None:
            raise Violation(f"{kind} without an id")
        elif kind == "invoke":
            self._peer.invoke(frame)
        elif kind == "cancel":
            self._peer.cancel(number)
        elif kind == "credit":
            self._peer.credit(number, _count(frame.header.get("n")))
        else:
            raise Violation(f"{kind} is not for a process")

    def _end_of_line(self) -> None:
        with self._ending:
            if self._closed:
                return
            self._closed = True
        self._link.close()
        lost = Frame("lost", {}, b"")
        while self._pending:
            try:
                self._pending.popitem()[1].put(lost)
            except KeyError:
                break  # It was answered or forgotten meanwhile.
        self._greeted.set()
        self._peer.lost()

    def _end(self, sent: bool) -> AigisError:
        """The error of a call that this connection's end has met."""
        if self._why is not None and not sent:
            # One for each call: an exception keeps the traceback of where it was raised.
            return type(self._why)(self._why.message, hint=self._why.hint, data=self._why.data)
        words = str(self._why) if self._why else "" if self.welcome else self._link.last_words()
        told = f": {words}" if words else ""
        return Unavailable(f"the connection to the host has ended{told}", data={"sent": sent})

    def lost_error(self) -> AigisError:
        """The error of a call that was sent before the connection ended."""
        return self._end(sent=True)


def _nothing() -> None:
    """What is done about a write that takes long: another thread reads on."""


class _Dismissed(Exception):
    """The host ends the connection, and says why."""


_ANSWERS = frozenset(("reply", "error", "item", "end"))


def _object(body: bytes) -> Dict[str, Any]:
    try:
        value = json.loads(body)
    except ValueError:
        raise Violation("a body that is no JSON") from None
    if not isinstance(value, dict):
        raise Violation("a body that is no object")
    return value


def _count(value: Any) -> int:
    if type(value) is not int or not 0 < value <= 1024:
        raise Violation("a credit that is none")
    return value
