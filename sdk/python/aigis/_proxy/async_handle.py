"""Handles to await."""

from __future__ import annotations

from typing import Any

from . import awaiting, leases
from .handle import Handle


class AsyncHandle(Handle):
    """A :class:`Handle` whose uses are awaited."""

    __slots__ = ()
    _way = staticmethod(awaiting.call)

    async def __aenter__(self) -> Any:
        return await awaiting.call(self._target("enter"), (), {})

    async def __aexit__(self, kind: Any, error: Any, trace: Any) -> bool:
        return bool(await awaiting.call(self._target("exit"), (error,), {}))

    async def release(self) -> None:  # type: ignore[override]
        """Lets go of the object; the handle cannot be used any more."""
        leases.forget(self)
        await awaiting.call(self._target("release"), (), {})
