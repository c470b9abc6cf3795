"""What annotations say about arguments: a JSON Schema for those who ask, and a check before a skill runs."""

from __future__ import annotations

import collections.abc
import inspect
import types
import typing
from typing import Any, Callable, Dict, List, Literal, Optional, Union

from .._proxy.handle import Handle

#: The builtin classes that JSON Schema has a word for.
_WORDS = {bool: "boolean", int: "integer", float: "number", str: "string", type(None): "null"}
_ARRAYS = {list: {}, tuple: {}, set: {"uniqueItems": True}, frozenset: {"uniqueItems": True}}
_ARRAY_LIKE = (collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection)
_UNIONS = tuple(kind for kind in (Union, getattr(types, "UnionType", None)) if kind is not None)


def hints_of(function: Any) -> Dict[str, Any]:
    """The annotations of a function, as far as they can be made out."""
    try:
        return typing.get_type_hints(function)
    except Exception:
        # They may name what exists for type checkers alone.
        found = getattr(function, "__annotations__", None)
        return {name: hint for name, hint in (found or {}).items() if not isinstance(hint, str)}


def of(hint: Any, depth: int = 0) -> Dict[str, Any]:
    """The JSON Schema of an annotation; ``{}`` where it says nothing that JSON Schema could."""
    if hint in _WORDS:
        return {"type": _WORDS[hint]}
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    base = origin or hint
    if depth > 8 or base is inspect.Parameter.empty:
        return {}
    if base is Literal:
        return {"enum": list(args)} if all(isinstance(arg, (str, int, type(None))) for arg in args) else {}
    if base in _UNIONS:
        return {"anyOf": [of(arg, depth + 1) for arg in args]}
    if (base in _ARRAYS and base is list) or (base in _ARRAY_LIKE and isinstance(base, type)):
        items = of(args[0], depth + 1) if args else {}
        return {"type": "array", **({"items": items} if items else {})}
    if base is dict or base in (collections.abc.Mapping, collections.abc.MutableMapping):
        values = of(args[1], depth + 1) if len(args) == 2 and args[0] is str else {}
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    return {}


def parameters(signature: Optional[inspect.Signature], hints: Dict[str, Any], hidden: Optional[str]) -> Dict[str, Any]:
    """The JSON Schema of a skill's arguments, as an object by name; ``hidden`` is the parameter of the logger."""
    if signature is None:
        return {"type": "object"}
    properties: Dict[str, Any] = {}
    required: List[str] = []
    open_ended: Any = False
    for name, parameter in signature.parameters.items():
        if name == hidden or parameter.kind is parameter.VAR_POSITIONAL:
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = of(hints.get(name)) or True
            continue
        schema = properties[name] = of(hints.get(name, parameter.empty))
        if parameter.default is parameter.empty:
            required.append(name)
        elif isinstance(parameter.default, (str, int, float, bool)) and parameter.default == parameter.default:
            schema["default"] = parameter.default
    schema = {"type": "object", "properties": properties, "additionalProperties": open_ended}
    if required:
        schema["required"] = required
    return schema


Check = Callable[[Any], bool]


def check_of(hint: Any, default: Any) -> Optional[Check]:
    """A check of arguments against an annotation; ``None`` where it says nothing that can be checked.

    Only builtin classes are checked: what else travels comes back as something of its own.
    """
    kinds = _kinds(hint)
    if kinds is None:
        return None
    if default is None:
        kinds = kinds + [type(None)]
    allowed = tuple(kinds) + (Handle,)

    def check(value: Any) -> bool:
        return isinstance(value, allowed)

    return check


def _kinds(hint: Any) -> Optional[List[type]]:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    base = origin or hint
    if base in _UNIONS:
        each = [_kinds(arg) for arg in args]
        return None if None in each else [kind for kinds in each for kind in (kinds or ())]
    if base is None:
        return [type(None)]
    if base is float:
        return [float, int]
    if base is bytes:
        return [bytes]
    if base is list:
        return [list, tuple]
    return [base] if base in _WORDS or base is dict else None


def describe(kinds: Any) -> str:
    """An annotation in words."""
    return kinds.__name__ if isinstance(kinds, type) else str(kinds).replace("typing.", "")
