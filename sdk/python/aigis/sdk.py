"""What programs need besides the names of others: the running call, handles, stand-ins, a skill's word on itself."""

from __future__ import annotations

from typing import Any, Callable, NamedTuple, Optional, TypeVar

from ._proxy.calling import Stream
from ._proxy.context import Call, current_call
from ._proxy.handle import Handle
from ._values import Member, Record
from .errors import RemoteError

__all__ = ["Call", "Handle", "Member", "Record", "RemoteError", "Stream", "current_call", "skill"]

_Skill = TypeVar("_Skill", bound=Callable[..., Any])


class _Mark(NamedTuple):
    effect: Optional[str]
    timeout_s: Optional[float]


def skill(function: Optional[_Skill] = None, *, effect: Optional[str] = None, timeout_s: Optional[float] = None) -> Any:
    """Says of a skill what it does to the world, and how long it may take.

    >>> @skill(effect="read", timeout_s=600)
    ... def count(): ...

    ``effect`` is ``read``, ``write`` or ``admin``; without it a function is taken to write. SKILLS still lists what is
    offered.
    """
    if effect not in (None, "read", "write", "admin"):
        raise ValueError(f"an effect is read, write or admin, not {effect!r}")
    if timeout_s is not None and not 0 < timeout_s <= 86_400:
        raise ValueError(f"a time-out is above 0 and at most 86400 seconds, not {timeout_s!r}")

    def mark(marked: _Skill) -> _Skill:
        marked.__aigis_skill__ = _Mark(effect, timeout_s)  # type: ignore[attr-defined]
        return marked

    return mark if function is None else mark(function)
