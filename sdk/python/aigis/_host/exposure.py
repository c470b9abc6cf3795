"""What a plugin's SKILLS name, and what of it others may reach. Only what is registered here can ever be called."""

from __future__ import annotations

import datetime
import decimal
import difflib
import enum
import functools
import inspect
import operator
import os
import pathlib
import re
import sys
import types
import uuid
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional, Tuple

from .leaf import Leaf

#: How deep below a listed name, and how much in all, is registered.
MAX_DEPTH = 4
MAX_LEAVES = 2000
_MAX_PATH = 512
_SEGMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}", re.ASCII)

_BASIC = (str, int, float, complex, bytes, bytearray, type(None), list, tuple, set, frozenset, Mapping)
_SPANS = (datetime.date, datetime.time, datetime.timedelta)
_DATA = (*_BASIC, *_SPANS, decimal.Decimal, uuid.UUID, pathlib.PurePath, enum.Enum)
_ROUTINES = (
    types.FunctionType,
    types.BuiltinFunctionType,
    types.MethodType,
    types.MethodWrapperType,
    types.WrapperDescriptorType,
    types.MethodDescriptorType,
    types.ClassMethodDescriptorType,
)


#: Gives what stands at a path now: plain data may be bound anew at any time.
Read = Callable[[], Any]
#: Stands for a property, which is not evaluated while loading.
_UNREAD: Any = object()


class Wrong(Exception):
    """The plugin says something that cannot be registered."""


class Exposure:
    """The leaves of one plugin, as they are found."""

    def __init__(self, root: str, effects: Mapping, timeout_s: Optional[float]) -> None:  # type: ignore[type-arg]
        self._root = os.path.realpath(root) + os.sep
        self._effects = dict(effects)
        self._timeout_s = timeout_s
        self.leaves: Dict[str, Leaf] = {}
        self.warnings: List[str] = []

    def expose(self, names: Mapping) -> Dict[str, Leaf]:  # type: ignore[type-arg]
        """Registers what ``SKILLS`` lists of the names that ``AIGIS.core`` binds.

        Raises :class:`Wrong` for the first thing that is.
        """
        for listed in self._listed(names):
            self._add(listed, *_follow(names, listed), MAX_DEPTH, ())
        for path in self._effects:
            if path not in self.leaves:
                self.warnings.append(f"EFFECTS names {path}, which is no skill{_nearest(path, self.leaves)}")
        return self.leaves

    def _listed(self, names: Mapping) -> Iterator[str]:  # type: ignore[type-arg]
        if "SKILLS" not in names:
            raise Wrong("AIGIS.core does not bind SKILLS, the list of what it offers")
        skills = names["SKILLS"]
        if isinstance(skills, str):
            self.warnings.append("SKILLS is a plain string: each letter of it counts as a name")
        try:
            listed = list(skills)
        except TypeError:
            raise Wrong(f"SKILLS is {type(skills).__name__}, not a list of names") from None
        seen = set()
        for name in listed:
            if not isinstance(name, str):
                raise Wrong(f"SKILLS lists {name!r:.80}, which is no name: write it as text")
            if name not in seen:
                seen.add(name)
                yield name

    def _add(self, path: str, value: Any, read: Read, depth: int, inside: Tuple[int, ...]) -> None:
        """Registers a value, by what it is, and what of it is public; ``read`` gives what stands there later."""
        if isinstance(value, type):
            if issubclass(value, BaseException):
                self._leaf(path, "exception", value)
            else:
                self._leaf(path, "class", value)
                self._members(path, value, self._of_class(value), depth, (*inside, id(value)))
        elif isinstance(value, types.ModuleType):
            self._members(path, value, self._of_module(value), depth, (*inside, id(value)))
        elif value is _UNREAD or is_data(value):
            self._leaf(path, "value", read)
        elif isinstance(value, _ROUTINES) or callable(value):
            self._leaf(path, "function", value)
        elif hasattr(type(value), "__getattr__"):
            self._leaf(path, "open", value)
        else:
            self._members(path, value, self._of_instance(value), depth, (*inside, id(value)))

    def _members(
        self, path: str, owner: Any, found: Iterable[Tuple[str, Any]], depth: int, inside: Tuple[int, ...]
    ) -> None:
        for name, value in found:
            if id(value) in inside or not _SEGMENT.fullmatch(name):
                continue
            if depth == 0:
                raise Wrong(f"{path}.{name} lies more than {MAX_DEPTH} levels below what SKILLS lists: list names")
            self._add(f"{path}.{name}", value, functools.partial(getattr, owner, name), depth - 1, inside)

    def _leaf(self, path: str, kind: str, value: Any) -> None:
        if len(path) > _MAX_PATH:
            raise Wrong(f"the path {path[:60]}… is longer than {_MAX_PATH} bytes")
        if path not in self.leaves and len(self.leaves) >= MAX_LEAVES:
            raise Wrong(f"over {MAX_LEAVES} skills, with {path}: list names")
        leaf = Leaf(path, kind, value, timeout_s=self._timeout_s)
        effect = self._effects.get(path)
        if effect is not None:
            if effect not in ("read", "write", "admin"):
                raise Wrong(f"EFFECTS says {effect!r:.40} of {path}; it is read, write or admin")
            leaf.effect = effect
        self.leaves[path] = leaf

    def _of_module(self, module: types.ModuleType) -> Iterator[Tuple[str, Any]]:
        """The public members of a module: those of ``__all__``, else what is at home in it, and plain data."""
        listed = getattr(module, "__all__", None)
        bound = vars(module)
        for name in list(bound) if listed is None else [name for name in listed if isinstance(name, str)]:
            if not name.startswith("_") and name in bound and (listed is not None or self._home(module, bound[name])):
                yield name, bound[name]

    def _home(self, module: types.ModuleType, value: Any) -> bool:
        """Whether a value belongs to ``module``, and was not merely imported into it."""
        if isinstance(value, types.ModuleType):
            home = value.__name__
        elif is_data(value) and not isinstance(value, enum.Enum) and not is_dataclass(value):
            return True
        else:
            # Of an instance it is its class's, unless a decorator has said otherwise.
            found = getattr(value, "__module__", None)
            home = found if isinstance(found, str) else ""
        if home.partition(".")[0] == module.__name__.partition(".")[0]:
            return True
        place = getattr(sys.modules.get(home), "__file__", None)
        return place is not None and os.path.realpath(place).startswith(self._root)

    def _of_class(self, kind: type) -> Iterator[Tuple[str, Any]]:
        """Static and class methods and plain attributes; methods belong to instances."""
        if issubclass(kind, enum.Enum):
            yield from kind.__members__.items()
        for name in _names(kind):
            raw = inspect.getattr_static(kind, name)
            if isinstance(raw, (staticmethod, classmethod)):
                yield name, getattr(kind, name)
            elif isinstance(raw, type) and self._home(sys.modules.get(kind.__module__, types), raw):
                yield name, raw
            elif not isinstance(raw, enum.Enum) and is_data(raw):
                yield name, raw

    def _of_instance(self, value: Any) -> Iterator[Tuple[str, Any]]:
        """Public attributes and methods; properties are not evaluated, and read when they are asked for."""
        kind = type(value)
        own = getattr(value, "__dict__", {})
        for name in dict.fromkeys([*_names(kind), *(name for name in own if isinstance(name, str))]):
            if name.startswith("_"):
                continue
            raw = own[name] if name in own else inspect.getattr_static(kind, name)
            if isinstance(raw, (types.FunctionType, staticmethod, classmethod, *_ROUTINES)):
                yield name, getattr(value, name)
            elif name not in own and (isinstance(raw, property) or hasattr(type(raw), "__get__")):
                yield name, _UNREAD
            else:
                yield name, raw


def is_data(value: Any) -> bool:
    """Whether a value travels as data."""
    return isinstance(value, _DATA) or (is_dataclass(value) and not isinstance(value, type))


def reach(value: Any, name: str, exposure: Callable[[], Exposure]) -> Any:
    """One public member of an object that is already reached: by the same rules as while loading.

    Raises ``KeyError`` if there is none of that name.
    """
    if isinstance(value, types.ModuleType):
        return dict(exposure()._of_module(value))[name]
    if isinstance(value, type):
        return dict(exposure()._of_class(value))[name]
    missing = object()
    found = getattr(value, name, missing)
    if found is missing:
        raise KeyError(name)
    return found


def _names(kind: type) -> List[str]:
    """The public names that a class and its bases bind, in order."""
    found: Dict[str, None] = {}
    for base in kind.__mro__:
        if base is not object:
            found.update((name, None) for name in vars(base) if not name.startswith("_"))
    return list(found)


def _follow(names: Mapping, path: str) -> Tuple[Any, Read]:  # type: ignore[type-arg]
    """What a dotted name stands for, and what reads it."""
    first, *further = segments = path.split(".")
    for segment in segments:
        if not _SEGMENT.fullmatch(segment):
            raise Wrong(f"SKILLS lists {path!r:.80}, whose part {segment!r:.40} is no name")
        if segment.startswith("_"):
            raise Wrong(f"SKILLS lists {path}, whose part {segment} is private")
    if first not in names:
        raise Wrong(f"SKILLS lists {path}, but AIGIS.core binds no {first}{_nearest(first, names)}")
    value: Any = names[first]
    read: Read = functools.partial(operator.getitem, names, first)
    for index, segment in enumerate(further, 1):
        read = functools.partial(getattr, value, segment)
        try:
            value = read()
        except AttributeError:
            so_far, hint = ".".join(segments[:index]), _nearest(segment, dir(value))
            raise Wrong(f"SKILLS lists {path}, but {so_far} has no {segment}{hint}") from None
    return value, read


def _nearest(word: str, known: Iterable[Any]) -> str:
    public = [name for name in known if isinstance(name, str) and not name.startswith("_") and name != "SKILLS"]
    close = difflib.get_close_matches(word, public, 1, 0.5)
    return f"; did you mean {close[0]}?" if close else ""
