"""What can be done with an object that others hold."""

from __future__ import annotations

import functools
import inspect
from types import FunctionType, ModuleType
from typing import Any, Callable, Dict, Tuple

from ..errors import InvalidArgument, NotFound, PermissionDenied
from .exposure import Exposure, is_data, reach
from .leaf import Late, Leaf
from .table import Entry


def leaf_of(entry: Entry, op: str, names: Tuple[str, ...]) -> Leaf:
    """The use ``op`` of an object, as something that can be run.

    Raises :class:`~aigis.errors.InvalidArgument` for an unknown use, :class:`~aigis.errors.PermissionDenied` for a
    private name, :class:`~aigis.errors.NotFound` for one that is not there.
    """
    path = ".".join((type(entry.object).__name__, *names))
    if op == "call":
        return _member(entry, path, names)
    make = _USES.get(op)
    if make is None or names:
        raise InvalidArgument(f"{op:.40} is no use of a handle: call {' '.join(_USES)} renew release")
    return Leaf(f"{op} of {path}", "function", make(entry))


def _member(entry: Entry, path: str, names: Tuple[str, ...]) -> Leaf:
    if any(name.startswith("_") for name in names):
        raise PermissionDenied(f"{path}: names with a leading _ are private")
    if not names or (len(names) == 1 and _is_method(entry.object, names[0])):
        return _found(entry, path, names)
    return Late(path, lambda: _found(entry, path, names))


def _is_method(value: Any, name: str) -> bool:
    """Whether a name is a plain method, which is found without running anything."""
    kind = type(value)
    if isinstance(value, (type, ModuleType)) or name in getattr(value, "__dict__", {}):
        return False
    return isinstance(inspect.getattr_static(kind, name, None), FunctionType)


def _found(entry: Entry, path: str, names: Tuple[str, ...]) -> Leaf:
    owner, value = entry.owner, entry.object
    read: Callable[[], Any] = lambda: entry.object  # noqa: E731
    for name in names:
        read = functools.partial(getattr, value, name)
        try:
            value = reach(value, name, lambda: Exposure(getattr(owner, "root", "/nowhere"), {}, None))
        except KeyError:
            raise NotFound(f"{type(entry.object).__name__} has no public {name}", data={"name": name}) from None
    if isinstance(value, type) and issubclass(value, BaseException):
        return Leaf(path, "exception", value)
    if callable(value):
        return Leaf(path, "class" if isinstance(value, type) else "function", value)
    if names or is_data(value):
        return Leaf(path, "value", read)
    raise InvalidArgument(f"a {path} cannot be called; use its methods")


def _enter(entry: Entry) -> Callable[[], Any]:
    def enter() -> Any:
        result = type(entry.object).__enter__(entry.object)
        entry.entered += 1
        return result

    async def aenter() -> Any:
        result = await type(entry.object).__aenter__(entry.object)
        entry.entered += 1
        return result

    return _either(entry.object, "__enter__", enter, aenter)


def _exit(entry: Entry) -> Callable[..., Any]:
    def leave(error: Any = None) -> bool:
        _left(entry)
        return bool(type(entry.object).__exit__(entry.object, *_raised(error)))

    async def aleave(error: Any = None) -> bool:
        _left(entry)
        return bool(await type(entry.object).__aexit__(entry.object, *_raised(error)))

    return _either(entry.object, "__exit__", leave, aleave)


def _either(value: Any, name: str, plain: Callable[..., Any], awaited: Callable[..., Any]) -> Callable[..., Any]:
    if hasattr(type(value), name):
        return plain
    if hasattr(type(value), name.replace("__e", "__ae")):
        return awaited
    raise InvalidArgument(f"a {type(value).__name__} is no context manager")


def _left(entry: Entry) -> None:
    if not entry.entered:
        raise InvalidArgument("it was not entered")
    entry.entered -= 1


def _raised(error: Any) -> Tuple[Any, Any, Any]:
    if isinstance(error, BaseException):
        return type(error), error, error.__traceback__
    return None, None, None


def _iterate(entry: Entry) -> Callable[[], Any]:
    value = entry.object
    if entry.aio:

        async def aitems() -> Any:
            async for item in value:
                yield item

        return aitems

    def items() -> Any:
        yield from value

    return items


_USES: Dict[str, Callable[[Entry], Callable[..., Any]]] = {
    "enter": _enter,
    "exit": _exit,
    "iter": _iterate,
    "item": lambda entry: lambda key: entry.object[key],
    "contains": lambda entry: lambda value: value in entry.object,
    "length": lambda entry: lambda: len(entry.object),
    "text": lambda entry: lambda: str(entry.object),
}
