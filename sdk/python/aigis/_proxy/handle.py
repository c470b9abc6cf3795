"""Handles: objects that stay where they live, and are used from here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Dict, NoReturn, Tuple

from ..errors import InvalidArgument
from . import calling, leases
from .target import Target

if TYPE_CHECKING:
    from .session import Session


class Handle:
    """An object of another process: ``h.method(…)``, ``h.attribute()``, ``h(…)``, ``for``, ``len``, ``h[k]``, ``in``,
    ``with``.

    It lives there for as long as it is held here; :meth:`release` lets go of it at once. One that was had by
    :mod:`aigis.aio` is awaited: its methods, ``async for``, ``async with``.
    """

    __slots__ = ("__weakref__", "_ci", "_finalizer", "_id", "_kind", "_session", "_type")
    _finalizer: Any
    #: How its uses are called.
    _way = staticmethod(calling.call)

    def __init__(self, session: "Session", ref: Dict[str, Any]) -> None:
        object.__setattr__(self, "_session", session)
        for name in ("id", "ci", "kind", "type"):
            object.__setattr__(self, f"_{name}", str(ref.get(name, "")))

    def _use(self, op: str, *args: Any) -> Any:
        return calling.call(self._target(op), args, {})

    def _target(self, op: str) -> Target:
        return Target(f"_ref.{self._id}.{op}", self._ci)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"{name} of a handle is private")
        return Member(self, name)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError("a handle is used, never set")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._way(self._target("call"), args, kwargs)

    def __iter__(self) -> Any:
        return iter(self._use("iter"))

    def __aiter__(self) -> Any:
        from . import awaiting  # It needs asyncio, which takes its time to load.

        return awaiting.call(self._target("iter"), (), {}).__aiter__()

    def __len__(self) -> int:
        return int(self._use("length"))

    def __getitem__(self, key: Any) -> Any:
        return self._use("item", key)

    def __contains__(self, value: Any) -> bool:
        return bool(self._use("contains", value))

    def __enter__(self) -> Any:
        return self._use("enter")

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return bool(self._use("exit", error))

    def __bool__(self) -> bool:
        # Without it Python would ask for the length.
        return True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and (self._ci, self._id) == (other._ci, other._id)

    def __hash__(self) -> int:
        return hash((self._ci, self._id))

    def __str__(self) -> str:
        return str(self._use("text"))

    def __repr__(self) -> str:
        return f"<handle of a {self._type} at {self._ci}>"

    def release(self) -> None:
        """Lets go of the object; the handle cannot be used any more."""
        leases.forget(self)
        self._use("release")

    # A handle that is sent on is the same handle there.
    def __aigis_ref__(self) -> Dict[str, Any]:
        return {"id": self._id, "ci": self._ci, "kind": self._kind, "type": self._type, "lease_s": leases.LEASE_S}


class Member:
    """A method or attribute of a handle; calling it calls or reads it over there."""

    __slots__ = ("_handle", "_name")

    def __init__(self, handle: Handle, name: str) -> None:
        # It holds the handle, so that the object outlives the call.
        self._handle = handle
        self._name = name

    def __getattr__(self, name: str) -> "Member":
        if name.startswith("_"):
            raise AttributeError(f"{name} of a handle is private")
        return Member(self._handle, f"{self._name}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._handle._way(self._handle._target(f"call.{self._name}"), args, kwargs)

    def _refuse(self, *_: Tuple[Any, ...]) -> NoReturn:
        raise TypeError(f"{self._name} of a handle is no value here: call it")

    __bool__ = __len__ = __iter__ = __str__ = __format__ = _refuse  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<{self._name} of {self._handle!r}>"


def of(session: "Session", ref: Dict[str, Any], aio: bool, borrowed: bool) -> Handle:
    """The handle of a ``$ref`` that has arrived: the one that there is already, or a new one.

    A ``borrowed`` one came as an argument: we may send it on, and let go of it a little later than we need.
    """
    if not isinstance(ref.get("ci"), str):
        raise InvalidArgument("a $ref without a CI")
    kind = Handle
    if aio:
        from .async_handle import AsyncHandle as kind
    return leases.held(kind, session, ref, borrowed)
