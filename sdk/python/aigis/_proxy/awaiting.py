"""Calls to await."""

from __future__ import annotations

import asyncio
import time
import warnings
import weakref
from collections import deque
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, Deque, Dict, Generator, List, Optional, Tuple

from .._bridge import Bridge, Exchange, Frame
from . import answers
from .calling import GRANT, is_over
from .session import connected, is_connected
from .target import Target, message

if TYPE_CHECKING:
    from .session import Session


def call(target: Target, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> "AsyncCall":
    """A call of ``target`` that begins when it is awaited, iterated over or entered."""
    return AsyncCall(target, args, kwargs)


class _Inbox:
    """Lets a coroutine wait for frames that another thread puts in."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._loop = asyncio.get_running_loop()
        self._waiter: "Optional[asyncio.Future[None]]" = None
        self.post = post = _Post.of(self._loop)
        exchange.wake = lambda: post.put(self)

    def ring(self) -> None:
        """Lets :meth:`take` look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def take(self, deadline: Optional[float]) -> Optional[Frame]:
        """The next frame; ``None`` if the deadline passes. A cancelled wait cancels the call."""
        while True:
            frame = self._exchange.poll()
            if frame is not None:
                return frame
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return None
            self._waiter = self._loop.create_future()
            timer = None if left is None else self._loop.call_later(left, self.ring)
            try:
                await self._waiter
            except BaseException:
                self._exchange.give_up()
                raise
            finally:
                if timer is not None:
                    timer.cancel()


class _Post:
    """Wakes a loop once for all that has come since it was last awake: waking it costs a system call."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        # The loop keeps this, so this must not keep the loop.
        self._loop = weakref.ref(loop)
        self._inboxes: Deque[_Inbox] = deque()
        self._called = False
        self._flushing = False

    @classmethod
    def of(cls, loop: asyncio.AbstractEventLoop) -> "_Post":
        """The one of that loop."""
        post = _posts.get(loop)
        if post is None:
            post = _posts[loop] = cls(loop)
        return post

    def flush_soon(self, bridge: Bridge) -> None:
        """Writes what coroutines have sent, once for all that run in this turn of the loop."""
        loop = self._loop()
        if loop is None or self._flushing:
            return
        self._flushing = True

        def flush() -> None:
            self._flushing = False
            bridge.flush()

        loop.call_soon(flush)

    def put(self, inbox: _Inbox) -> None:
        """Has the loop ring an inbox; on any thread."""
        self._inboxes.append(inbox)
        if self._called:
            return
        self._called = True
        loop = self._loop()
        try:
            if loop is not None:
                loop.call_soon_threadsafe(self._deliver)
        except RuntimeError:
            pass  # The loop is closed: nobody waits.

    def _deliver(self) -> None:
        # Before it looks: what comes from here on calls again.
        self._called = False
        while self._inboxes:
            self._inboxes.popleft().ring()


_posts: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, _Post]" = weakref.WeakKeyDictionary()


class AsyncCall(Coroutine):  # type: ignore[type-arg]
    """One call: ``await`` it, go through it with ``async for``, or enter what it gives with ``async with``."""

    def __init__(self, target: Target, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> None:
        self._target = target
        self._args = args
        self._kwargs = kwargs
        self._running: Any = None
        self._entered: Any = None
        self._items: Any = None
        self._begun = False

    async def _run(self) -> Any:
        self._begun = True
        session = connected() if is_connected() else await asyncio.get_running_loop().run_in_executor(None, connected)
        lent: List[str] = []
        header, body, deadline = message(self._target, self._args, self._kwargs, session.table.lend(lent))
        try:
            return await self._answer(session, header, body, deadline)
        finally:
            session.table.settle(lent)

    async def _answer(self, session: "Session", header: Dict[str, Any], body: bytes, deadline: Optional[float]) -> Any:
        exchange = session.bridge.begin(header, body, flush=False)
        inbox = _Inbox(exchange)
        inbox.post.flush_soon(session.bridge)
        frame = await inbox.take(deadline)
        if frame is None or frame.kind != "reply":
            raise answers.failure(session, frame, self._target, exchange)
        if frame.header.get("stream"):
            return AsyncStream(session, self._target, exchange, inbox, deadline)
        return answers.value(session, frame, self._target, True)

    def __await__(self) -> Generator[Any, None, Any]:
        return self._run().__await__()

    # A coroutine, so that `asyncio.create_task` takes it; the real one begins with the first step.
    def send(self, value: Any) -> Any:
        """Runs the call up to where it waits next."""
        if self._running is None:
            self._running = self._run()
        return self._running.send(value)

    def throw(self, *error: Any) -> Any:
        """Throws an exception into the call."""
        if self._running is None:
            self._running = self._run()
        return self._running.throw(*error)

    def close(self) -> None:
        """Ends the call."""
        self._begun = True
        if self._running is not None:
            self._running.close()

    def __del__(self) -> None:
        if not self._begun:
            warnings.warn(f"a call of {self._target.shown()} was never awaited", RuntimeWarning, stacklevel=2)

    def __aiter__(self) -> "AsyncCall":
        return self

    async def __anext__(self) -> Any:
        if self._items is None:
            self._items = (await self._run()).__aiter__()
        return await self._items.__anext__()

    async def __aenter__(self) -> Any:
        self._entered = await self._run()
        return await self._entered.__aenter__()

    async def __aexit__(self, *error: Any) -> Any:
        return await self._entered.__aexit__(*error)


class AsyncStream:
    """What a generator over there yields, for ``async for``; leaving it closes the generator."""

    def __init__(
        self, session: "Session", target: Target, exchange: Exchange, inbox: _Inbox, deadline: Optional[float]
    ) -> None:
        self._session = session
        self._target = target
        self._exchange = exchange
        self._inbox = inbox
        self._deadline = deadline
        self._taken = 0
        self._over = False

    def __aiter__(self) -> "AsyncStream":
        return self

    async def __anext__(self) -> Any:
        if self._over:
            raise StopAsyncIteration
        frame = None if is_over(self._deadline) else await self._inbox.take(self._deadline)
        if frame is not None and frame.kind == "item":
            self._taken += 1
            if self._taken % GRANT == 0:
                self._exchange.grant(GRANT)
            return answers.value(self._session, frame, self._target, True)
        self._over = True
        if frame is not None and frame.kind == "end":
            raise StopAsyncIteration
        raise answers.failure(self._session, frame, self._target, self._exchange)

    async def aclose(self) -> None:
        """Wants no more items."""
        self._close()

    def _close(self) -> None:
        if not self._over:
            self._over = True
            self._exchange.give_up()

    async def __aenter__(self) -> "AsyncStream":
        return self

    async def __aexit__(self, *_: Any) -> None:
        self._close()

    def __del__(self) -> None:
        self._close()

    def __repr__(self) -> str:
        return f"<stream of {self._target.shown()}>"
