"""The namespace ``aigis``: what a first name stands for."""

from __future__ import annotations

from typing import Any, NoReturn, Optional, Protocol

from . import calling
from .path import Caller, Path, child, target_of
from .target import Target

#: Given by :meth:`Locals.get` for what is not here.
MISSING: Any = object()

ROOT = Target("")


class Locals(Protocol):
    """What a process has of its own in the namespace."""

    def get(self, path: str) -> Any:
        """What stands at ``path`` here, else :data:`MISSING`."""


_locals: Optional[Locals] = None


def set_locals(found: Optional[Locals]) -> None:
    """Puts a process's own objects before what is reached by calls."""
    global _locals
    _locals = found


def attribute(name: str) -> Any:
    """What ``aigis.NAME`` is."""
    if _locals is not None:
        found = _locals.get(name)
        if found is not MISSING:
            return found
    return child(ROOT, calling.call, name)


def further(path: str) -> Any:
    """What a path is of which this process has the beginning."""
    found = _locals.get(path) if _locals is not None else MISSING
    if found is not MISSING:
        return found
    above, _, name = path.rpartition(".")
    return child(ROOT._replace(path=above), calling.call, name)


def address(ci: str) -> Path:
    """What ``aigis["NAME@NODE"]`` is."""
    return addressed(ROOT, ci, calling.call)


def addressed(target: Target, ci: Any, call: Caller) -> Path:
    """The path of an address.

    Raises ``TypeError`` for what is no text.
    """
    if not isinstance(ci, str) or not ci:
        raise TypeError('an address is a text: aigis["NAME"] or aigis["NAME@NODE"]')
    return Path(target._replace(ci=ci), call)


class Limited:
    """The namespace with a budget: what ``aigis.with_timeout(seconds)`` gives."""

    __slots__ = ("_call", "_target")

    def __init__(self, seconds: float, call: Caller = calling.call) -> None:
        self._target = ROOT.limited(seconds)
        self._call = call

    def __getattr__(self, name: str) -> Any:
        return child(self._target, self._call, name)

    def __getitem__(self, ci: str) -> Path:
        return addressed(self._target, ci, self._call)

    def __repr__(self) -> str:
        return f"<aigis, within {self._target.limit} s>"


class Node:
    """A name of which this process has something below."""

    __slots__ = ("_path",)
    _path: str

    def __init__(self, path: str) -> None:
        object.__setattr__(self, "_path", path)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"aigis.{self._path} has no {name}: names with a leading _ are private")
        return further(f"{self._path}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return calling.call(Target(self._path), args, kwargs)

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"aigis.{self._path} is called, never set")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Node) and other._path == self._path

    def __hash__(self) -> int:
        return hash(self._path)

    def __repr__(self) -> str:
        return f"<path aigis.{self._path}>"


def value(found: Any) -> Any:
    """The value at a path, by a call of it; anything else as it is.

    So one line is right in every type of plugin: ``aigis.value(aigis.cool.CONST)``.
    """
    return found() if target_of(found) is not None else found


def reload(name: str) -> Any:
    """Reloads the plugin ``name``; what its ``reload`` answers.

    Raises :class:`~aigis.errors.NotFound` for an unknown one.
    """
    return calling.call(Target("reload", f"{name}-ci"), (), {})
