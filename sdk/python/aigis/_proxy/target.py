"""What a call goes to, and the message that it becomes."""

from __future__ import annotations

import time
from typing import Any, Callable, Dict, NamedTuple, Optional, Tuple

from .._bridge.frames import MAX_BODY
from .._values import Encoder, Export, Unsendable, dump
from ..errors import DeadlineExceeded, InvalidArgument, ResourceExhausted
from .context import scope

#: The longest budget of a call, in seconds.
MAX_BUDGET_S = 86_400.0
#: The longest path.
MAX_PATH = 512


class Target(NamedTuple):
    """Whom a path names, and how long calls of it may take."""

    #: The path, or the path within ``ci``.
    path: str
    #: An address, where the caller gave one.
    ci: Optional[str] = None
    #: At most so many seconds, if :func:`with_timeout` said so.
    limit: Optional[float] = None

    def child(self, name: str) -> "Target":
        """The path one name further."""
        return self._replace(path=f"{self.path}.{name}" if self.path else name)

    def shown(self) -> str:
        """How Python writes it."""
        root = f"aigis[{self.ci!r}]" if self.ci else "aigis"
        return f"{root}.{self.path}" if self.path else root

    def limited(self, seconds: float) -> "Target":
        """The same with a budget.

        Raises ``ValueError`` unless it is above 0 and at most a day.
        """
        if not 0 < seconds <= MAX_BUDGET_S:
            raise ValueError(f"a time-out is above 0 and at most 86400 seconds, not {seconds!r}")
        limit = float(seconds) if self.limit is None else min(self.limit, float(seconds))
        return self._replace(limit=limit)


class Message(NamedTuple):
    """A call that is ready to go."""

    header: Dict[str, Any]
    body: bytes
    #: When its answer is wanted no more, on the monotonic clock.
    deadline: Optional[float]


def message(target: Target, args: Tuple[Any, ...], kwargs: Dict[str, Any], export: Export) -> Message:
    """The frame of a call of ``target`` by the code that runs.

    Raises :class:`~aigis.errors.InvalidArgument` that names the place of what cannot travel, and
    :class:`~aigis.errors.DeadlineExceeded` if nothing is left of the budget.
    """
    if not target.path or len(target.path) > MAX_PATH or len(target.ci or "") > MAX_PATH:
        raise InvalidArgument(f"{target.shown()[:80]} names no skill: a path has 1 to {MAX_PATH} characters")
    header: Dict[str, Any] = {"path": target.path}
    if target.ci is not None:
        header["ci"] = target.ci
    here = scope.get()
    meta = []
    deadline = None
    now = time.monotonic()
    if here.call is not None:
        deadline = here.call.deadline
        meta.append(f'"hops":{here.call.hops + 1}')
        if here.call.trace:
            meta.append(f'"traceparent":"{here.call.trace}"')
    gen = getattr(here.plugin, "gen", None)
    if gen:
        header["gen"] = gen
    if target.limit is not None:
        mine = now + target.limit
        deadline = mine if deadline is None else min(deadline, mine)
    if deadline is not None:
        left = int((deadline - now) * 1000)
        if left <= 0:
            raise DeadlineExceeded(f"nothing is left of the budget for {target.shown()}", data={"sent": False})
        header["timeout_ms"] = left
        meta.append(f'"timeout_ms":{left}')
    return Message(header, _body(args, kwargs, ",".join(meta), export), deadline)


def _body(args: Tuple[Any, ...], kwargs: Dict[str, Any], meta: str, export: Export) -> bytes:
    """The envelope: its order and its end are what the bridge's specification says."""
    tree = Encoder(export).tree
    parts = []
    if args:
        parts.append(f'"args":{dump([_at(tree, arg, f"args[{index}]") for index, arg in enumerate(args)])}')
    if kwargs:
        named = {name: _at(tree, arg, f"kwargs.{name}") for name, arg in kwargs.items()}
        parts.append(f'"kwargs":{dump(named)}')
    parts.append(f'"meta":{{{meta}}}')
    body = f"{{{','.join(parts)}}}".encode()
    if len(body) > MAX_BODY:
        raise ResourceExhausted(f"the arguments are {len(body)} bytes; at most {MAX_BODY} travel", data={"sent": False})
    return body


def _at(tree: Callable[[Any, int], Any], value: Any, place: str) -> Any:
    try:
        return tree(value, 2)
    except Unsendable as error:
        raise InvalidArgument(error.message(place)) from None
