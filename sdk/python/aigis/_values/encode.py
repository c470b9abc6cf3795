"""Values as they travel: the tree that JSON can hold, with a tag for each kind of value that it cannot."""

from __future__ import annotations

import base64
import collections.abc
import dataclasses
import datetime
import decimal
import enum
import json
import math
import pathlib
import uuid
from typing import Any, Callable, Dict, List, Tuple

from . import digits, stand_ins, times

#: The deepest nesting on the wire, the envelope included.
MAX_DEPTH = 128
#: From here on a float would be taken for a whole number that lost digits.
_LARGE_FLOAT = 2.0**63

#: Makes a handle of what cannot travel, or refuses with a :class:`Unsendable`.
Export = Callable[[Any], Dict[str, Any]]


class Unsendable(Exception):
    """A value cannot travel: why, and at which place in what was to be sent."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        # From the inside out: how each container holds the next, and which one it is.
        self.steps: List[Tuple[str, int]] = []

    def place(self, root: str) -> str:
        """Where it stands, as ``args[0].x``; a value that holds itself is named where it first closes."""
        steps = self.steps[::-1]
        seen: Dict[int, int] = {}
        for index, (_, container) in enumerate(steps):
            if container in seen:
                self.reason = "a value that holds itself"
                steps = steps[:index]
                break
            seen[container] = index
        return (root + "".join(step for step, _ in steps)).lstrip(".")

    def message(self, root: str) -> str:
        """The whole message, for a value that stands at ``root``."""
        place = self.place(root)
        return f"{place or 'the value'} cannot travel: {self.reason}"


def to_json(value: Any, export: Export, depth: int = 0) -> str:
    """The JSON of a value that stands ``depth`` levels deep in its message.

    Raises :class:`Unsendable`.
    """
    return dump(Encoder(export).tree(value, depth))


def dump(tree: Any) -> str:
    """The JSON of a tree that an :class:`Encoder` made."""
    kind = type(tree)
    if kind is int:
        return repr(tree)
    # Cycles and depth were seen to by the encoder.
    return _JSON.encode(tree)


_JSON = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))


class Encoder:
    """Makes trees of values; what cannot travel becomes what ``export`` makes of it."""

    def __init__(self, export: Export) -> None:
        self._export = export

    def tree(self, value: Any, depth: int) -> Any:
        """The tree of one value; ``depth`` counts the arrays and objects around it."""
        kind = type(value)
        if kind is str:
            if not value.isascii():
                _check_text(value)
            return value
        if value is None or kind is bool:
            return value
        if kind is int:
            return value if -(2**63) <= value < 2**64 else {"$int": _int(value)}
        if kind is float:
            return value if -_LARGE_FLOAT < value < _LARGE_FLOAT else {"$float": _float(value)}
        if depth >= MAX_DEPTH:
            raise Unsendable(f"more than {MAX_DEPTH} levels")
        if kind is list:
            return self._items(value, depth + 1)
        if kind is dict:
            return self._mapping(value, depth)
        return self._other(value, depth)

    def _items(self, items: Any, depth: int, name: str = "") -> List[Any]:
        out: List[Any] = []
        try:
            for item in items:
                out.append(self.tree(item, depth))
        except Unsendable as error:
            error.steps.append((f"{name}[{len(out)}]", id(items)))
            raise
        return out

    def _mapping(self, mapping: Any, depth: int) -> Dict[str, Any]:
        out: Dict[str, Any] = {}
        for key, item in mapping.items():
            if type(key) is not str or key[:1] == "$":
                return {"$map": self._pairs(mapping, depth + 2)}
            try:
                if not key.isascii():
                    _check_text(key)
                out[key] = self.tree(item, depth + 1)
            except Unsendable as error:
                error.steps.append((f".{key}", id(mapping)))
                raise
        return out

    def _pairs(self, mapping: Any, depth: int) -> List[Any]:
        pairs = []
        for key, item in mapping.items():
            try:
                pairs.append([self.tree(key, depth + 1), self.tree(item, depth + 1)])
            except Unsendable as error:
                error.steps.append((f"[{key!r:.40}]", id(mapping)))
                raise
        return pairs

    def _other(self, value: Any, depth: int) -> Any:
        tagged = _SCALARS.get(type(value))
        if tagged is not None:
            return tagged(value)
        if isinstance(value, enum.Enum):
            name = stand_ins.class_name(type(value))
            return self._enum(stand_ins.Member(name, value.name or "", value.value), depth)
        if isinstance(value, stand_ins.Member):
            return self._enum(value, depth)
        if isinstance(value, stand_ins.Record):
            return self._record(stand_ins.type_of(value), stand_ins.fields_of(value), depth)
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
            return self._record(stand_ins.class_name(type(value)), fields, depth, value)
        for kind, make in _CONTAINERS:
            if isinstance(value, kind):
                return make(self, value, depth)
        for kind, scalar in _SCALARS.items():
            if isinstance(value, kind):
                return scalar(value)
        if isinstance(value, BaseException):
            # Imported late: the form of an error has values in it.
            from .faults import body_of

            return {"$error": self.tree(body_of(value), depth + 1)}
        return {"$ref": self._export(value)}

    def _enum(self, member: stand_ins.Member, depth: int) -> Dict[str, Any]:
        value = self.tree(member.value, depth + 2)
        return {"$enum": {"type": member.type, "name": member.name, "value": value}}

    def _record(self, name: str, fields: Dict[str, Any], depth: int, identity: Any = None) -> Dict[str, Any]:
        out = {}
        for field, value in fields.items():
            try:
                out[field] = self.tree(value, depth + 3)
            except Unsendable as error:
                error.steps.append((f".{field}", id(fields if identity is None else identity)))
                raise
        return {"$record": {"type": name, "fields": out}}

    def _sorted(self, items: Any, depth: int) -> List[Any]:
        return sorted(self._items(items, depth + 2), key=dump)

    def _base(self, value: Any, depth: int) -> Any:
        """A subclass of what JSON has, as what it is."""
        for kind in (str, int, float):
            if isinstance(value, kind):
                return self.tree(kind.__str__(value) if kind is str else kind(value), depth)
        return self._items(value, depth + 1)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unsendable("a text with a lone surrogate, which is no character") from None


def _int(value: int) -> str:
    try:
        return digits.write(value)
    except ValueError as error:
        raise Unsendable(str(error)) from None


def _float(value: float) -> str:
    return repr(value) if math.isfinite(value) else "nan" if value != value else "inf" if value > 0 else "-inf"


def _part(value: float) -> Any:
    return value if -_LARGE_FLOAT < value < _LARGE_FLOAT else {"$float": _float(value)}


def _base64(value: Any) -> Dict[str, str]:
    return {"$bytes": base64.b64encode(bytes(value)).decode("ascii")}


def _path(value: pathlib.PurePath) -> Dict[str, str]:
    text = str(value)
    _check_text(text)
    return {"$path": text}


_SCALARS: Dict[type, Callable[[Any], Any]] = {
    bytes: _base64,
    bytearray: _base64,
    memoryview: _base64,
    # A moment is a day too: the order decides for subclasses.
    datetime.datetime: lambda value: {"$datetime": value.isoformat()},
    datetime.date: lambda value: {"$date": value.isoformat()},
    datetime.time: lambda value: {"$time": value.isoformat()},
    datetime.timedelta: lambda value: {"$duration": times.write_span(value)},
    decimal.Decimal: lambda value: {"$decimal": str(value)},
    uuid.UUID: lambda value: {"$uuid": str(value)},
    complex: lambda value: {"$complex": [_part(value.real), _part(value.imag)]},
    pathlib.PurePath: _path,
}

_CONTAINERS: Tuple[Tuple[Any, Callable[[Encoder, Any, int], Any]], ...] = (
    (tuple, lambda self, value, depth: {"$tuple": self._items(value, depth + 2)}),
    (collections.abc.Mapping, Encoder._mapping),
    (frozenset, lambda self, value, depth: {"$frozenset": self._sorted(value, depth)}),
    (set, lambda self, value, depth: {"$set": self._sorted(value, depth)}),
    ((str, int, float, list), Encoder._base),
)


def refuse(value: Any) -> Dict[str, Any]:
    """An :data:`Export` for where nobody could call back."""
    raise Unsendable(f"a {type(value).__name__} cannot be sent as data, and nobody can call back to this process")
