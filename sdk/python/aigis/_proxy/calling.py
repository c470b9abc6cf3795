"""Calls that wait for their answer."""

from __future__ import annotations

import sys
import time
import warnings
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Optional, Tuple

from .._bridge import Exchange, Frame
from . import answers
from .context import scope
from .session import connected
from .target import Target, message

if TYPE_CHECKING:
    from .session import Session

#: A reader lets further items come whenever it has taken so many.
GRANT = 8

_warned = False


def call(target: Target, args: Tuple[Any, ...], kwargs: Dict[str, Any]) -> Any:
    """Calls ``target`` and gives what it answers: a value, or a :class:`Stream`.

    Raises what the skill raised, and any of :mod:`aigis.errors`.
    """
    _warn_in_a_loop()
    session = connected()
    lent: List[str] = []
    header, body, deadline = message(target, args, kwargs, session.table.lend(lent))
    try:
        exchange = session.bridge.begin(header, body)
        frame = _take(exchange, deadline)
        if frame is None or frame.kind != "reply":
            raise answers.failure(session, frame, target, exchange)
        if frame.header.get("stream"):
            return Stream(session, target, exchange, deadline)
        return answers.value(session, frame, target, False)
    finally:
        if lent:
            session.table.settle(lent)


def _take(exchange: Exchange, deadline: Optional[float]) -> Optional[Frame]:
    """Waits as a part of the call that this code answers, if it answers one."""
    outer = scope.get().call
    if outer is not None:
        outer.inner.add(exchange)
        if outer._cancelled:
            exchange.interrupt()
    try:
        return exchange.take(deadline)
    except BaseException:
        # Ctrl-C ends it over there too.
        exchange.give_up()
        raise
    finally:
        if outer is not None:
            outer.inner.discard(exchange)


class Stream(Iterator[Any]):
    """What a generator over there yields; leaving it closes the generator."""

    def __init__(self, session: "Session", target: Target, exchange: Exchange, deadline: Optional[float]) -> None:
        self._session = session
        self._target = target
        self._exchange = exchange
        self._deadline = deadline
        self._taken = 0
        self._over = False

    def __iter__(self) -> "Stream":
        return self

    def __next__(self) -> Any:
        if self._over:
            raise StopIteration
        # A budget ends a stream even if there is always a next item.
        frame = None if is_over(self._deadline) else _take(self._exchange, self._deadline)
        if frame is not None and frame.kind == "item":
            self._taken += 1
            if self._taken % GRANT == 0:
                self._exchange.grant(GRANT)
            return answers.value(self._session, frame, self._target, False)
        self._over = True
        if frame is not None and frame.kind == "end":
            raise StopIteration
        raise answers.failure(self._session, frame, self._target, self._exchange)

    def close(self) -> None:
        """Wants no more items."""
        if not self._over:
            self._over = True
            self._exchange.give_up()

    def __enter__(self) -> "Stream":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<stream of {self._target.shown()}>"


def is_over(deadline: Optional[float]) -> bool:
    """Whether a deadline has passed."""
    return deadline is not None and time.monotonic() >= deadline


def _warn_in_a_loop() -> None:
    global _warned
    # Where asyncio is not loaded, or another thread is just loading it, no loop runs here.
    running = getattr(sys.modules.get("asyncio.events"), "_get_running_loop", None)
    if not _warned and running is not None and running() is not None:
        _warned = True
        warnings.warn(
            "a call that waits inside a running event loop holds up the loop; aigis.aio is the same to await",
            RuntimeWarning,
            stacklevel=4,
        )
