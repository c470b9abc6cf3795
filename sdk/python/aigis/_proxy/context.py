"""The call in whose skill the running code is."""

from __future__ import annotations

import contextvars
import time
from typing import TYPE_CHECKING, Any, Optional, Set

if TYPE_CHECKING:
    from .._bridge import Exchange


class Call:
    """A call that a skill of this process is answering."""

    __slots__ = ("_cancelled", "caller", "deadline", "effect", "hops", "id", "inner", "may", "role", "trace")

    def __init__(
        self,
        caller: str = "",
        role: str = "",
        id: str = "",
        deadline: Optional[float] = None,
        hops: int = 0,
        trace: Optional[str] = None,
        effect: str = "write",
        may: str = "admin",
    ) -> None:
        #: Who calls, and in which role, as the bus vouches for it.
        self.caller = caller
        self.role = role
        #: The call's id, as it stands in logs.
        self.id = id
        #: When the answer is wanted no more, on the monotonic clock; ``None``: whenever.
        self.deadline = deadline
        self.hops = hops
        self.trace = trace
        #: The effect of the skill, and the largest one that the caller has here.
        self.effect = effect
        self.may = may
        #: What this call waits for of others, so that its end is theirs.
        self.inner: Set["Exchange"] = set()
        self._cancelled = False

    def cancelled(self) -> bool:
        """Whether nobody waits for the answer any more."""
        return self._cancelled or (self.deadline is not None and time.monotonic() >= self.deadline)

    def cancel(self) -> None:
        """Notes that nobody does, and ends what the call itself waits for."""
        self._cancelled = True
        for exchange in tuple(self.inner):
            exchange.interrupt()

    def unbind(self) -> None:
        """Notes that the first item of a stream is out: from then on its reader decides how long it lives."""
        self.deadline = None

    @property
    def remaining_s(self) -> float:
        """How long the answer is still waited for, in seconds."""
        return 86_400.0 if self.deadline is None else max(0.0, self.deadline - time.monotonic())

    def __repr__(self) -> str:
        return f"<call {self.id} of {self.role} {self.caller}>"


class Scope:
    """Whose code runs: the call, and the plugin with its logger and generation."""

    __slots__ = ("call", "plugin")

    def __init__(self, plugin: Any = None, call: Optional[Call] = None) -> None:
        self.plugin = plugin
        self.call = call


_NOBODY = Scope()
scope: "contextvars.ContextVar[Scope]" = contextvars.ContextVar("aigis_scope", default=_NOBODY)


def current_call() -> Optional[Call]:
    """The call in whose skill this code runs; ``None`` outside any.

    A thread that a skill starts has none, unless it is run in a copy of the skill's context.
    """
    return scope.get().call
