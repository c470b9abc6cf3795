"""The namespace to await.

>>> await aigis.aio.web.status()                     # doctest: +SKIP
>>> async for line in aigis.aio.web.logs(): ...      # doctest: +SKIP
>>> async with aigis.aio.db.transaction() as t: ...  # doctest: +SKIP
"""

from __future__ import annotations

import sys
import types
from typing import Any, NoReturn

from ._proxy import awaiting as _awaiting
from ._proxy import path as _path
from ._proxy import root as _root


def with_timeout(seconds: float) -> _root.Limited:
    """The namespace, where a call and all that it calls have at most so many seconds.

    Raises ``ValueError`` unless it is above 0 and at most a day.
    """
    return _root.Limited(seconds, _awaiting.call)


class _Namespace(types.ModuleType):
    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"module 'aigis.aio' has no attribute {name!r}: names with a leading _ are private")
        return _path.child(_root.ROOT, _awaiting.call, name)

    def __getitem__(self, ci: str) -> Any:
        return _root.addressed(_root.ROOT, ci, _awaiting.call)

    def __setattr__(self, name: str, value: Any) -> None:
        if not name.startswith("__"):
            raise AttributeError(f"aigis.aio.{name} cannot be set: what others offer is called, never set")
        super().__setattr__(name, value)

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"aigis.aio.{name} cannot be deleted")


sys.modules[__name__].__class__ = _Namespace
