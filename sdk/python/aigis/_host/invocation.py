"""One invocation: from the envelope that has come to the last frame of its answer."""

from __future__ import annotations

import contextvars
import inspect
import threading
import time
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, Dict, Iterator, List, Optional, Tuple

from .._bridge import Frame
from .._bridge.frames import MAX_BODY
from .._proxy.context import Call, Scope, scope
from .._values import Unreadable, Unsendable, from_json, to_json
from .._values.faults import body_of
from ..errors import AigisError, Cancelled, DeadlineExceeded, Internal, InvalidArgument
from .leaf import Leaf
from .pool import loop

if TYPE_CHECKING:
    import asyncio

    from .serving import Server

#: How many items a stream may send before the first credit.
CREDIT = 32


class Invocation:
    """A call that others make here. It answers once, whatever happens."""

    def __init__(self, server: "Server", frame: Frame, call: Call, leaf: Leaf, plugin: Any) -> None:
        self._server = server
        self._frame = frame
        self._leaf = leaf
        self._request = call
        self._scope = Scope(plugin, call)
        self._credit = CREDIT
        #: What a stream waits by; there is none before it is opened, and for most calls never.
        self._credited: Optional[threading.Condition] = None
        self._async_credited: "Optional[asyncio.Event]" = None
        #: Its coroutine, if it is one.
        self.task: Optional["asyncio.Task[None]"] = None
        #: When the caller gave up, on the monotonic clock.
        self.given_up_at: Optional[float] = None
        self.number: int = frame.header["id"]

    # On the thread that reads:

    def cancel(self) -> None:
        """The answer is wanted no more."""
        self.given_up_at = time.monotonic()
        self._request.cancel()
        task = self.task
        if task is not None:
            loop().call_soon_threadsafe(task.cancel)
        self.credit(0)

    def credit(self, count: int) -> None:
        """A stream may send so many further items."""
        credited = self._credited
        if credited is not None:
            with credited:
                self._credit += count
                credited.notify()
        if self._async_credited is not None:
            loop().call_soon_threadsafe(self._async_credited.set)

    # On a thread of the pool:

    def run(self) -> None:
        """Runs the skill and answers."""
        # An empty context: what one call sets, the next one on this thread does not see.
        contextvars.Context().run(self._run)

    def _run(self) -> None:
        scope.set(self._scope)
        self._answer(self._whole)

    def _whole(self) -> None:
        result = self._call()
        if inspect.isawaitable(result):
            result = _on_the_loop(self._awaited(result))
        if isinstance(result, Iterator) and inspect.isgenerator(result):
            self._stream(result)
        elif inspect.isasyncgen(result):
            _on_the_loop(self._astream(result))
        else:
            self._reply(result)

    async def _awaited(self, result: Any) -> Any:
        scope.set(self._scope)
        return await result

    def _stream(self, items: Iterator[Any]) -> None:
        # It lives for as long as its reader wants, even if it is no generator function by its looks.
        self._leaf.streams = True
        self._credited = threading.Condition()
        try:
            self._send({"t": "reply", "stream": True})
            while self._may_send(self._credited):
                try:
                    item = next(items)
                except StopIteration:
                    self._send({"t": "end"})
                    return
                self._item(item)
            raise Cancelled("the reader has left")
        finally:
            close = getattr(items, "close", None)
            if close is not None:
                close()

    def _may_send(self, credited: threading.Condition) -> bool:
        with credited:
            credited.wait_for(lambda: self._credit > 0 or self.given_up_at is not None, 86_400)
            self._credit -= 1
        return self.given_up_at is None

    # On the loop:

    async def run_async(self) -> None:
        """Runs a skill that is a coroutine or an asynchronous generator, and answers."""
        scope.set(self._scope)
        try:
            if self.given_up_at is not None:
                raise Cancelled("the caller gave up")
            result = self._call()
            if inspect.isasyncgen(result) or (hasattr(result, "__anext__") and not inspect.isawaitable(result)):
                await self._astream(result)
            else:
                result = await result
                self._answer(lambda: self._reply(result))
                return
        except BaseException as error:
            self._answer(_raiser(error))
        self._server.finish(self.number)

    async def _astream(self, items: AsyncIterator[Any]) -> None:
        scope.set(self._scope)
        import asyncio

        self._credited, self._async_credited = threading.Condition(), asyncio.Event()
        try:
            self._send({"t": "reply", "stream": True})
            while True:
                while self._credit <= 0 and self.given_up_at is None:
                    await self._async_credited.wait()
                    self._async_credited.clear()
                if self.given_up_at is not None:
                    raise Cancelled("the reader has left")
                self._credit -= 1
                try:
                    item = await items.__anext__()
                except StopAsyncIteration:
                    self._send({"t": "end"})
                    return
                self._item(item)
        finally:
            close = getattr(items, "aclose", None)
            if close is not None:
                await close()

    # Anywhere:

    def _call(self) -> Any:
        call = self._request
        args, kwargs = self._arguments(call)
        if call.cancelled():
            raise DeadlineExceeded("the deadline passed before it could begin", data={"sent": False})
        logger = None if self._scope.plugin is None else self._scope.plugin.logger
        return self._leaf.call(args, kwargs, logger)

    def _arguments(self, call: Call) -> Tuple[List[Any], Dict[str, Any]]:
        if not self._frame.body:
            return [], {}
        session = self._server.session
        try:
            text = self._frame.body.decode()
            body = from_json(text, lambda ref: session.bring(ref, self._leaf.is_async, True))
        except (Unreadable, UnicodeDecodeError) as error:
            raise InvalidArgument(str(error)) from None
        if not isinstance(body, dict):
            raise InvalidArgument("the body is no JSON object")
        unknown = [key for key in body if key not in ("args", "kwargs", "meta")]
        if unknown:
            raise InvalidArgument(f"the body has the key {unknown[0]!r:.60}; its keys are args, kwargs, meta")
        args, kwargs, meta = body.get("args", []), body.get("kwargs", {}), body.get("meta", {})
        if not (type(args) is list and type(kwargs) is dict and type(meta) is dict):
            raise InvalidArgument("args is an array, kwargs and meta are objects")
        hops, trace = meta.get("hops"), meta.get("traceparent")
        call.hops = hops if type(hops) is int and 0 <= hops < 1000 else 0
        if call.trace is None and isinstance(trace, str) and trace.isascii() and len(trace) <= 64:
            call.trace = trace
        return args, kwargs

    def _answer(self, act: Callable[[], None]) -> None:
        """Does what answers, and says what went wrong with it: ``sys.exit`` in a skill ends no more than its call."""
        try:
            act()
        except BaseException as error:
            self._fail(error)
        finally:
            self._server.finish(self.number)

    def _reply(self, result: Any) -> None:
        if self.given_up_at is not None:
            raise Cancelled("the caller gave up")
        self._send({"t": "reply"}, self._encoded(result, "result", 0))

    def _item(self, item: Any) -> None:
        self._send({"t": "item"}, self._encoded(item, "item", 2))
        self._request.unbind()

    def _encoded(self, value: Any, place: str, depth: int) -> bytes:
        try:
            body = to_json(value, self._server.session.table.export, depth).encode()
        except Unsendable as error:
            raise Internal(f"what {self._leaf.path} gives: {error.message(place)}") from None
        if len(body) > MAX_BODY:
            raise Internal(f"what {self._leaf.path} gives is {len(body)} bytes; at most {MAX_BODY} travel")
        return body

    def _fail(self, error: BaseException) -> None:
        body = body_of(error)
        self._server.log_failure(self._scope.plugin, error)
        text = to_json(body, self._server.session.table.export).encode()
        self._send({"t": "error", "code": body["code"]}, text)

    def _send(self, header: Dict[str, Any], body: bytes = b"") -> None:
        try:
            self._server.session.bridge.send({"t": header.pop("t"), "id": self.number, **header}, body)
        except AigisError:
            pass  # Nobody is left to be answered.


def _on_the_loop(coroutine: Any) -> Any:
    """Waits here for what runs there."""
    import asyncio

    return asyncio.run_coroutine_threadsafe(coroutine, loop()).result()


def _raiser(error: BaseException) -> Callable[[], None]:
    def act() -> None:
        raise error

    return act
