"""Everything in the mesh, by its name.

>>> import aigis
>>> aigis.web.status()                  # doctest: +SKIP
>>> aigis["web@beta"].restart()         # doctest: +SKIP
>>> aigis.with_timeout(5).dice.roll(6)  # doctest: +SKIP

``aigis.a.b.c(…)`` calls the skill ``b.c`` of the CI ``a``, or what a plugin offers under that name. Every other name
of this module is a CI, but for these: ``aio``, ``errors``, ``sdk``, ``skill``, ``value``, ``with_timeout``,
``AIGISReload``.
"""

from __future__ import annotations

import importlib.abc
import sys
import types
from typing import Any, NoReturn, Optional, Sequence

from . import errors
from ._proxy import root as _root
from ._version import VERSION as __version__
from .sdk import skill

value = _root.value


def with_timeout(seconds: float) -> _root.Limited:
    """The namespace, where a call and all that it calls have at most so many seconds.

    Raises ``ValueError`` unless it is above 0 and at most a day.
    """
    return _root.Limited(seconds)


def AIGISReload(name: str) -> Any:
    """Reloads the plugin of that name.

    Raises :class:`~aigis.errors.NotFound` for an unknown one.
    """
    return _root.reload(name)


class _Namespace(types.ModuleType):
    """The module itself, so that it has addresses and cannot be written to."""

    def __getattr__(self, name: str) -> Any:
        if name == "aio":
            # It needs asyncio, which takes its time to load.
            return importlib.import_module("aigis.aio")
        if name.startswith("_"):
            raise AttributeError(f"module 'aigis' has no attribute {name!r}: names with a leading _ are private")
        return _root.attribute(name)

    def __getitem__(self, ci: str) -> Any:
        return _root.address(ci)

    def __setattr__(self, name: str, value: Any) -> None:
        # Python binds the modules of this package so.
        own = isinstance(value, types.ModuleType) and value.__name__ == f"{__name__}.{name}"
        if not (own or name.startswith("__")):
            raise AttributeError(f"aigis.{name} cannot be set: what others offer is called, never set")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"aigis.{name} cannot be deleted")

    def __dir__(self) -> Sequence[str]:
        return ["AIGISReload", "aio", "errors", "sdk", "skill", "value", "with_timeout"]


class _Finder(importlib.abc.MetaPathFinder):
    """Says what to write instead where somebody imports a name of the mesh as a module."""

    def find_spec(self, fullname: str, path: Any, target: Optional[types.ModuleType] = None) -> None:
        package, _, name = fullname.partition(".")
        if package == __name__ and name and not name.startswith("_") and name not in ("aio", "errors", "sdk"):
            first = name.partition(".")[0]
            raise ModuleNotFoundError(
                f"aigis.{name} is no module: write `from aigis import {first}`, or `import aigis` and aigis.{name}(…)",
                name=fullname,
            )


sys.meta_path.insert(0, _Finder())
sys.modules[__name__].__class__ = _Namespace

__all__ = ["AIGISReload", "__version__", "errors", "skill", "value", "with_timeout"]
