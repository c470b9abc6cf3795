"""Values as they arrive. Nothing is imported, unpickled or evaluated because of them."""

from __future__ import annotations

import base64
import binascii
import decimal
import json
import pathlib
import uuid
from typing import Any, Callable, Dict, List, Tuple

from . import digits, stand_ins, times

#: Makes what a handle stands for here: the object itself, or a stand-in that calls it.
Import = Callable[[Dict[str, Any]], Any]

_Pairs = List[Tuple[str, Any]]


class Unreadable(Exception):
    """A body cannot be read: why, and at which place."""

    def __init__(self, reason: str, place: str = "") -> None:
        super().__init__(f"{place}: {reason}" if place else reason)
        self.reason = reason
        self.place = place


def from_json(text: str, bring: Import) -> Any:
    """The value of a JSON text.

    Raises :class:`Unreadable` with the place.
    """
    try:
        if '"$' not in text and "u0024" not in text:
            return _decoded(text, _PLAIN)
        return _load(text, _Reader(bring).hook)
    except Unreadable as error:
        raise Unreadable(error.reason, error.place or _locate(text, bring)) from None


def _load(text: str, hook: Callable[[_Pairs], Any]) -> Any:
    return _decoded(text, json.JSONDecoder(object_pairs_hook=hook, parse_constant=_no_constant))


def _decoded(text: str, decoder: json.JSONDecoder) -> Any:
    try:
        value, end = decoder.raw_decode(text)
        # What is around the value is looked at where there is anything.
        return value if end == len(text) else decoder.decode(text)
    except RecursionError:
        raise Unreadable("the body nests too deep") from None
    except ValueError as error:
        raise Unreadable(f"no JSON: {error}", "the body") from None


def _no_constant(word: str) -> Any:
    raise Unreadable(f"{word} is no JSON; it travels as $float")


def _object(pairs: _Pairs) -> Dict[str, Any]:
    """An object where no tag can be."""
    out = dict(pairs)
    if len(out) != len(pairs):
        raise Unreadable("a key that stands there twice")
    return out


#: Made once: for texts without tags, which most are.
_PLAIN = json.JSONDecoder(object_pairs_hook=_object, parse_constant=_no_constant)


class _Reader:
    """Makes values of objects, the inner ones first, as the parser meets their ends."""

    def __init__(self, bring: Import) -> None:
        self._bring = bring

    def hook(self, pairs: _Pairs) -> Any:
        if len(pairs) == 1 and pairs[0][0][:1] == "$":
            return self.tagged(*pairs[0])
        out = dict(pairs)
        if len(out) != len(pairs):
            raise Unreadable("a key that stands there twice")
        for key in out:
            if key[:1] == "$":
                raise Unreadable(f"the tag {key[:40]} beside other keys; a tag stands alone")
        return out

    def tagged(self, tag: str, inner: Any) -> Any:
        """The value of a tag, of which the inside has been made already."""
        if tag == "$ref":
            if not (isinstance(inner, dict) and isinstance(inner.get("id"), str)):
                raise Unreadable("no valid $ref")
            return self._bring(inner)
        make = _TAGS.get(tag)
        if make is None:
            raise Unreadable(f"the unknown tag {tag[:40]}")
        try:
            return make(inner)
        except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError, binascii.Error):
            raise Unreadable(f"no valid {tag}") from None


def _text(inner: Any) -> str:
    if not isinstance(inner, str):
        raise TypeError
    return inner


def _list(inner: Any) -> List[Any]:
    if not isinstance(inner, list):
        raise TypeError
    return inner


def _float(inner: Any) -> float:
    # Python's own spellings besides the wire's: it takes "nan", "NaN", "inf" and "-Infinity" alike.
    return float(_text(inner))


def _span(inner: Any) -> Any:
    # Other clients write a number of seconds.
    return times.read_span(inner) if isinstance(inner, str) else times.read_span(f"{inner:.6f}")


def _complex(inner: Any) -> complex:
    real, imaginary = _list(inner)
    return complex(real, imaginary)


def _error(inner: Any) -> BaseException:
    from .faults import error_of

    return error_of(inner)


_TAGS: Dict[str, Callable[[Any], Any]] = {
    "$bytes": lambda inner: base64.b64decode(_text(inner), validate=True),
    "$datetime": times.read_datetime,
    "$date": times.read_date,
    "$time": times.read_time,
    "$duration": _span,
    "$decimal": lambda inner: decimal.Decimal(_text(inner)),
    "$uuid": lambda inner: uuid.UUID(_text(inner)),
    "$int": digits.read,
    "$float": _float,
    "$complex": _complex,
    "$tuple": lambda inner: tuple(_list(inner)),
    "$set": lambda inner: set(_list(inner)),
    "$frozenset": lambda inner: frozenset(_list(inner)),
    "$map": lambda inner: {key: value for key, value in _list(inner)},
    "$path": lambda inner: pathlib.PurePath(_text(inner)),
    "$enum": lambda inner: stand_ins.member(_text(inner["type"]), _text(inner["name"]), inner["value"]),
    "$record": lambda inner: stand_ins.record(_text(inner["type"]), dict(inner["fields"])),
    "$error": _error,
}


class _Object(List[Tuple[str, Any]]):
    """An object of a JSON text as its pairs, so that it is no array."""


def _locate(text: str, bring: Import) -> str:
    """Where the first value that cannot be made stands: a second reading, for the message alone."""
    reader = _Reader(bring)

    def walk(node: Any, place: str) -> Any:
        if isinstance(node, _Object):
            tag = len(node) == 1 and node[0][0][:1] == "$"
            pairs = [(key, walk(item, place if tag else f"{place}.{key}")) for key, item in node]
            return attempt(lambda: reader.hook(pairs), place)
        if isinstance(node, list):
            return [walk(item, f"{place}[{index}]") for index, item in enumerate(node)]
        return node

    def attempt(make: Callable[[], Any], place: str) -> Any:
        try:
            return make()
        except Unreadable as error:
            raise Unreadable(error.reason, place or "the body") from None

    try:
        walk(_load(text, _Object), "")
    except Unreadable as error:
        return error.place.lstrip(".") or "the body"
    return "the body"
