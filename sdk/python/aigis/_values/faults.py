"""Errors as they travel: what a skill raised becomes a body, and a body becomes an exception that can be caught."""

from __future__ import annotations

import builtins
import os
import sys
import traceback
import weakref
from typing import Any, Dict, Iterable, List, Optional, Tuple, Type

from ..errors import BY_CODE, AigisError, Internal, RemoteError
from .encode import Encoder, Unsendable, refuse

#: How many errors behind one another are told.
_MAX_CAUSES = 8
#: How much of a traceback is told, and of a text.
_MAX_TRACEBACK = 16 * 1024
_MAX_TEXT = 64 * 1024
#: No more remote classes than this are kept: names come from elsewhere.
_MAX_CLASSES = 1024

_HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_exposed: "weakref.WeakKeyDictionary[type, List[str]]" = weakref.WeakKeyDictionary()
_classes: Dict[Tuple[Any, ...], Type[RemoteError]] = {}


def expose(kind: type, path: str) -> None:
    """Notes that an exception class can be had at ``path``, so that errors of it say so."""
    paths = _exposed.setdefault(kind, [])
    if path not in paths:
        paths.append(path)


def body_of(error: BaseException, causes: int = _MAX_CAUSES) -> Dict[str, Any]:
    """The body of an error: its values are still to be encoded, and can be."""
    body: Dict[str, Any]
    told: Dict[str, Any]
    if isinstance(error, RemoteError):
        body = {"code": error.code, "message": _headline(error.type, error.message)}
        told = {"type": error.type, "module": error.module, "bases": list(error.bases), "args": list(error.args)}
        told.update(traceback=error.traceback, exposed_as=list(error.exposed_as))
        body["data"] = {**_sendable(error.data), "exception": told}
    elif isinstance(error, AigisError):
        body = {"code": error.code, "message": error.message[:_MAX_TEXT], "data": _sendable(error.data)}
    else:
        told = _told(error)
        body = {"code": "internal", "message": _headline(told["type"], _text(error)), "data": {"exception": told}}
    hint = getattr(error, "hint", None)
    if isinstance(error, AigisError) and hint:
        body["hint"] = str(hint)
    if error.__cause__ is not None and causes and not isinstance(error.__cause__, RemoteTraceback):
        body["cause"] = body_of(error.__cause__, causes - 1)
    return body


def error_of(body: Any, ci: Optional[str] = None) -> AigisError:
    """The exception that a body tells of; a body that is none is :class:`Internal`."""
    if not (isinstance(body, dict) and isinstance(body.get("message"), str)):
        return Internal("the answer is an error that cannot be read", ci=ci)
    found = body.get("data")
    data: Dict[str, Any] = found if isinstance(found, dict) else {}
    hint = body.get("hint") if isinstance(body.get("hint"), str) else None
    told = data.get("exception")
    if isinstance(told, dict):
        rest = {key: value for key, value in data.items() if key != "exception"}
        error: AigisError = _raised(told, body["message"], hint, rest, ci)
    else:
        kind = BY_CODE.get(str(body.get("code")), Internal)
        error = kind(body["message"], hint=hint, data=data, ci=ci)
    if isinstance(body.get("cause"), dict):
        error.__cause__ = error_of(body["cause"])
    return error


class RemoteTraceback(Exception):
    """Shows a remote traceback where an exception cannot carry notes (before Python 3.11)."""

    def __str__(self) -> str:
        return f'\n"""\n{self.args[0]}"""'


def _told(error: BaseException) -> Dict[str, Any]:
    kind = type(error)
    paths: List[str] = []
    for base in kind.__mro__:
        paths.extend(path for path in _exposed.get(base, ()) if path not in paths)
    return {
        "type": kind.__name__,
        "module": kind.__module__,
        "bases": [_name(base) for base in kind.__mro__[1:] if base not in (object, BaseException)],
        "args": list(_args(error)),
        "traceback": _traceback(error),
        "exposed_as": paths,
    }


def _name(kind: type) -> str:
    return kind.__name__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__name__}"


def _headline(kind: str, text: str) -> str:
    return f"{kind}: {text}"[:_MAX_TEXT] if text else kind


def _text(error: BaseException) -> str:
    try:
        return str(error).encode(errors="backslashreplace").decode()
    except Exception as second:
        return f"(its text cannot be had: {type(second).__name__})"


def _args(error: BaseException) -> Iterable[Any]:
    return [arg for arg in error.args if _can_travel(arg)]


def _sendable(data: Dict[str, Any]) -> Dict[str, Any]:
    return {str(key): value for key, value in data.items() if _can_travel(value)}


def _can_travel(value: Any) -> bool:
    try:
        Encoder(refuse).tree(value, 64)
    except (Unsendable, RecursionError):
        return False
    return True


def _traceback(error: BaseException) -> str:
    """The frames outside this package, with paths relative to where their modules are looked for."""
    summary = traceback.extract_tb(error.__traceback__)
    lines = ["Traceback (most recent call last):\n"]
    frames = [frame for frame in summary if not frame.filename.startswith((_HERE, "<frozen"))]
    for frame in frames:
        lines.append(f'  File "{_relative(frame.filename)}", line {frame.lineno}, in {frame.name}\n')
        if frame.line:
            lines.append(f"    {frame.line}\n")
    lines.extend(traceback.format_exception_only(type(error), error))
    text = "".join(lines).encode(errors="backslashreplace").decode()
    return text if len(text) <= _MAX_TRACEBACK else "…" + text[-_MAX_TRACEBACK:]


def _relative(filename: str) -> str:
    parents = [entry for entry in sys.path if entry and filename.startswith(entry.rstrip(os.sep) + os.sep)]
    if parents:
        return filename[len(max(parents, key=len).rstrip(os.sep)) + 1 :]
    # The file of skills lies beside what is on the path.
    head, tail = os.path.split(filename)
    return os.path.join(os.path.basename(head), tail)


def _raised(told: Dict[str, Any], message: str, hint: Any, data: Dict[str, Any], ci: Optional[str]) -> RemoteError:
    def text(key: str) -> str:
        return told[key] if isinstance(told.get(key), str) else ""

    def texts(key: str) -> List[str]:
        found = told.get(key)
        return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []

    name = text("type") or "Exception"
    kind = _class(name, text("module"), tuple(texts("bases")))
    shown = message[len(name) + 2 :] if message.startswith(f"{name}: ") else "" if message == name else message
    error = kind(shown, hint=hint, data=data, ci=ci)
    error.traceback = text("traceback")
    error.exposed_as = texts("exposed_as")
    args = told.get("args")
    error.args = tuple(args) if isinstance(args, list) else ()
    if isinstance(error, OSError) and len(error.args) >= 2 and isinstance(error.args[0], int):
        error.errno, error.strerror = error.args[0], str(error.args[1])
    if sys.version_info >= (3, 11):
        error.__notes__ = ["over there:\n" + error.traceback] if error.traceback else []
    elif error.traceback:
        error.__cause__ = RemoteTraceback(error.traceback)
    return error


def _class(name: str, module: str, bases: Tuple[str, ...]) -> Type[RemoteError]:
    """The class that stands here for a remote one: always the same for the same."""
    key = (name, module, bases)
    found = _classes.get(key)
    if found is None:
        body = {"type": name, "module": module, "bases": list(bases), "__module__": module or __name__}
        found = _mixed(name.replace("\0", ""), _builtin((name,) if module == "builtins" else (), bases), body)
        if len(_classes) >= _MAX_CLASSES:
            _classes.clear()
        # Whoever was first is the class, if two threads meet the same one at once.
        found = _classes.setdefault(key, found)
    return found


def _builtin(own: Tuple[str, ...], bases: Tuple[str, ...]) -> Optional[type]:
    """The nearest builtin exception that may be mixed in: none that ends loops or programs."""
    for name in own + bases:
        kind = getattr(builtins, name, None)
        if isinstance(kind, type) and issubclass(kind, BaseException):
            ends = not issubclass(kind, Exception) or issubclass(kind, (StopIteration, StopAsyncIteration))
            return None if ends or kind is Exception else kind
    return None


def _mixed(name: str, builtin: Optional[type], body: Dict[str, Any]) -> Type[RemoteError]:
    if builtin is not None and not issubclass(RemoteError, builtin):
        try:
            kind: Type[RemoteError] = type(name, (RemoteError, builtin), dict(body))
            kind("probe")
            return kind
        except TypeError:
            pass  # It cannot be mixed in; it is left out.
    return type(name, (RemoteError,), dict(body))
