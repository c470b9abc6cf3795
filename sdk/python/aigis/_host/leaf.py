"""One thing that can be called by its path."""

from __future__ import annotations

import functools
import inspect
from typing import Any, Callable, Dict, List, Optional, Tuple

from .._proxy.context import Scope, scope
from ..errors import InvalidArgument
from . import schema

#: Where :func:`aigis.skill` leaves its word.
MARK = "__aigis_skill__"
#: How many calls of a skill that was slow once are taken to be slow as well.
_SLOW_CALLS = 100
_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


class Leaf:
    """What stands at a path: what it does, what it takes, and how it is run."""

    def __init__(
        self, path: str, kind: str, value: Any, effect: str = "write", timeout_s: Optional[float] = None
    ) -> None:
        self.path = path
        #: ``function``, ``class``, ``exception``, ``value`` or ``open``.
        self.kind = kind
        #: The object; of a value, what reads it.
        self.value = value
        self._local: Any = None
        mark = getattr(value, MARK, None) if kind in ("function", "class") else None
        self.effect: str = "read" if kind == "value" else getattr(mark, "effect", None) or effect
        self.timeout_s: Optional[float] = getattr(mark, "timeout_s", None) or timeout_s
        called = getattr(type(value), "__call__", None)  # noqa: B004
        self.is_async = inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(called)
        self.streams = inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value)
        #: How many further calls go to a thread of the pool, because one kept the reading thread too long.
        self.slow = 0
        self._read_signature()

    def _read_signature(self) -> None:
        self.signature: Optional[inspect.Signature] = None
        self.logger: Optional[str] = None
        self._plain: Optional[Tuple[int, int]] = None
        self._checks: Dict[str, Tuple[schema.Check, str]] = {}
        self._hints: Dict[str, Any] = {}
        if self.kind in ("value", "open"):
            return
        try:
            self.signature = inspect.signature(self.value)
        except (ValueError, TypeError):
            return  # Many builtins have none.
        function = (
            inspect.getattr_static(self.value, "__init__", None)
            if isinstance(self.value, type)
            else inspect.unwrap(self.value)
        )
        self._hints = schema.hints_of(getattr(function, "__func__", function))
        found = self.signature.parameters
        self.logger = next((name for name in ("logger", "log") if _takes_logger(found.get(name))), None)
        for name, parameter in found.items():
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD) or name == self.logger:
                continue
            check = schema.check_of(self._hints.get(name, parameter.empty), parameter.default)
            if check is not None:
                self._checks[name] = (check, schema.describe(self._hints[name]))
        if all(parameter.kind in _POSITIONAL for parameter in found.values()):
            needed = [name for name, p in found.items() if p.default is p.empty and name != self.logger]
            if self.logger is None and not self._checks:
                self._plain = (len(needed), len(found))

    def bind(self, args: List[Any], kwargs: Dict[str, Any], logger: Any) -> Dict[str, Any]:
        """The named arguments to call with, the logger among them where it is wanted.

        Raises :class:`~aigis.errors.InvalidArgument` that names the parameter, so that the body never runs with what
        does not fit.
        """
        if self._plain is not None and not kwargs and self._plain[0] <= len(args) <= self._plain[1]:
            return kwargs
        signature = self.signature
        if signature is None:
            return kwargs
        try:
            if self.logger is not None and self.logger not in signature.bind_partial(*args, **kwargs).arguments:
                kwargs = {**kwargs, self.logger: logger}
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidArgument(f"{self.path}{self.shown_signature()}: {error}") from None
        for name, (check, kind) in self._checks.items():
            if name in bound.arguments and not check(bound.arguments[name]):
                given = type(bound.arguments[name]).__name__
                raise InvalidArgument(f"{self.path}: the argument {name!r} is to be {kind}, not {given}")
        return kwargs

    def call(self, args: List[Any], kwargs: Dict[str, Any], logger: Any) -> Any:
        """Runs it, or reads it if it is a value."""
        if self.kind == "value":
            if args or kwargs:
                raise InvalidArgument(f"{self.path} is a value; it is read by a call without arguments")
            return self.value()
        return self.value(*args, **self.bind(args, kwargs, logger))

    def is_quick(self) -> bool:
        """Whether the next call may run on the thread that reads. After a slow one it is tried again in a while."""
        if self.streams:
            return False
        if self.slow:
            self.slow -= 1
            return False
        return True

    def was_slow(self) -> None:
        """Notes that a call kept the thread that reads."""
        self.slow = _SLOW_CALLS

    def shown_signature(self) -> str:
        """The signature without the logger."""
        if self.signature is None:
            return "(…)" if self.kind not in ("value", "open") else ""
        kept = [p for name, p in self.signature.parameters.items() if name != self.logger]
        try:
            return str(self.signature.replace(parameters=kept))
        except ValueError:
            return str(self.signature)

    def describe(self) -> Dict[str, Any]:
        """The leaf as ``ready`` tells it."""
        returns = self._hints.get("return") if self.signature is not None else None
        doc = inspect.getdoc(self.value) if self.kind not in ("value", "open") else None
        timeout = None if self.timeout_s is None else int(self.timeout_s * 1000)
        return {
            "path": self.path,
            "kind": self.kind,
            "effect": self.effect,
            "stream": self.streams,
            "signature": self.shown_signature(),
            "doc": (doc or "")[:4096],
            "input": schema.parameters(self.signature, self._hints, self.logger) if self.kind != "value" else _NOTHING,
            "output": schema.of(returns) if returns is not None and not self.streams else {},
            "timeout_ms": timeout,
        }

    def local(self, plugin: Any) -> Any:
        """What other plugins of the same process get for it: a function that brings the logger, or the thing itself."""
        if self.kind == "value":
            return self.value()
        if self.kind != "function":
            return self.value
        if self._local is None:
            self._local = _wrapped(self, plugin)
        return self._local


class Late(Leaf):
    """A leaf that is found when it is called, because finding it runs code of the plugin's."""

    def __init__(self, path: str, find: Callable[[], Leaf]) -> None:
        super().__init__(path, "function", find)

    def call(self, args: List[Any], kwargs: Dict[str, Any], logger: Any) -> Any:
        """Finds it and runs it."""
        return self.value().call(args, kwargs, logger)


_NOTHING = {"type": "object", "properties": {}, "additionalProperties": False}


def _takes_logger(parameter: Optional[inspect.Parameter]) -> bool:
    if parameter is None or parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        return False
    return parameter.default is parameter.empty or parameter.default is None


def _wrapped(leaf: Leaf, plugin: Any) -> Callable[..., Any]:
    def enter() -> Any:
        return scope.set(Scope(plugin, scope.get().call))

    def run(*args: Any, **kwargs: Any) -> Any:
        kwargs = _with_logger(leaf, args, kwargs, plugin.logger)
        token = enter()
        try:
            return leaf.value(*args, **kwargs)
        finally:
            scope.reset(token)

    async def run_async(*args: Any, **kwargs: Any) -> Any:
        kwargs = _with_logger(leaf, args, kwargs, plugin.logger)
        token = enter()
        try:
            return await leaf.value(*args, **kwargs)
        finally:
            scope.reset(token)

    try:
        return functools.wraps(leaf.value)(run_async if leaf.is_async else run)
    except (AttributeError, TypeError):
        return run_async if leaf.is_async else run


def _with_logger(leaf: Leaf, args: Tuple[Any, ...], kwargs: Dict[str, Any], logger: Any) -> Dict[str, Any]:
    """Adds the logger and nothing else: within one process Python itself says what does not fit."""
    if leaf.logger is None or leaf.signature is None:
        return kwargs
    try:
        given = leaf.signature.bind_partial(*args, **kwargs).arguments
    except TypeError:
        return kwargs
    return kwargs if leaf.logger in given else {**kwargs, leaf.logger: logger}
