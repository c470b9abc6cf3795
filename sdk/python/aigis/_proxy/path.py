"""Paths: ``aigis.a.b.c``, before it is called."""

from __future__ import annotations

import sys
from typing import Any, Callable, Dict, NoReturn, Optional, Tuple

from ..errors import RemoteError
from .target import Target

#: How a path is called: synchronously, or as something to await.
Caller = Callable[[Target, Tuple[Any, ...], Dict[str, Any]], Any]


class Path:
    """The name of something in the mesh; calling it makes a call. Immutable, and safe on any thread."""

    __slots__ = ("_call", "_target")

    _call: Caller
    _target: Target

    def __init__(self, target: Target, call: Caller) -> None:
        object.__setattr__(self, "_target", target)
        object.__setattr__(self, "_call", call)

    def __getattr__(self, name: str) -> Any:
        return child(self._target, self._call, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self._call(self._target, args, kwargs)

    def __repr__(self) -> str:
        return f"<path {self._target.shown()}>"

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"{self._target.shown()} belongs to another CI; it is called, never set")

    __delattr__ = __setattr__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Path):
            return self._target == other._target
        _no_value(self._target)

    def __hash__(self) -> int:
        return hash(self._target)

    def __instancecheck__(self, instance: object) -> bool:
        return isinstance(instance, RemoteError) and self._target.path in instance.exposed_as

    def _refuse(self, *_: Any) -> NoReturn:
        _no_value(self._target)

    __bool__ = __len__ = __iter__ = __next__ = __contains__ = __getitem__ = _refuse
    __str__ = __format__ = __lt__ = __le__ = __gt__ = __ge__ = __add__ = __radd__ = _refuse
    __sub__ = __mul__ = __truediv__ = __int__ = __float__ = __index__ = __enter__ = __exit__ = _refuse


def _no_value(target: Target) -> NoReturn:
    raise TypeError(f"{target.shown()} is a path, no value: call it, {target.shown()}()")


def child(target: Target, call: Caller, name: str) -> Any:
    """What an attribute of a path is."""
    if name.startswith("_"):
        raise AttributeError(f"{target.shown()} has no {name}: names with a leading _ are private")
    further = target.child(name)
    error = sys.exc_info()[1]
    return Path(further, call) if error is None else _while_handling(further, call, error)


def target_of(value: Any) -> Optional[Target]:
    """The target of a path, if it is one."""
    if isinstance(value, Path):
        return value._target
    if isinstance(value, _Caught):
        return type.__getattribute__(value, "_target")  # type: ignore[no-any-return]
    return None


class _Caught(type):
    """A path that may stand after ``except``, which takes nothing but exception classes.

    ``except aigis.cool.Mine:`` reads the path while the exception is being handled, and only then is it known whether
    the path names the class of that very exception. So every path that is read at such a time is a class: that of the
    exception, if the exception says that it can be had there, else one that matches nothing. It can be called like any
    path.
    """

    def __getattribute__(cls, name: str) -> Any:
        if name.startswith("_"):
            return type.__getattribute__(cls, name)
        return child(type.__getattribute__(cls, "_target"), type.__getattribute__(cls, "_call"), name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        return type.__getattribute__(cls, "_call")(type.__getattribute__(cls, "_target"), args, kwargs)

    def _refuse(cls, *_: Any) -> NoReturn:
        _no_value(type.__getattribute__(cls, "_target"))

    __bool__ = __len__ = __iter__ = __contains__ = __getitem__ = __str__ = __format__ = _refuse

    def __instancecheck__(cls, instance: object) -> bool:
        path = type.__getattribute__(cls, "_target").path
        return isinstance(instance, RemoteError) and path in instance.exposed_as

    def __setattr__(cls, name: str, value: Any) -> NoReturn:
        raise AttributeError("a path is called, never set")

    __delattr__ = __setattr__  # type: ignore[assignment]

    def __repr__(cls) -> str:
        return f"<path {type.__getattribute__(cls, '_target').shown()}>"


def _while_handling(target: Target, call: Caller, error: BaseException) -> Any:
    if isinstance(error, RemoteError) and target.ci is None and target.path in error.exposed_as:
        return type(error)
    # In a static method, so that it does not become a method of the class.
    return _Caught(target.path, (BaseException,), {"_target": target, "_call": staticmethod(call)})
