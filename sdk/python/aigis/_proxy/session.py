"""This process's connection to its host, made when it is first needed, and what hangs on it."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING, Any, Dict, Optional

from .._bridge import Bridge
from .._bridge.link import connect
from .._version import VERSION
from ..errors import Unavailable

if TYPE_CHECKING:
    from .._host.serving import Server
    from .._host.table import Table


class Session:
    """A connection, the objects that are reached over it here, and the handles that were had over it."""

    def __init__(self, bridge: Bridge, server: "Server", table: "Table") -> None:
        self.bridge = bridge
        self.server = server
        self.table = table

    def bring(self, ref: Dict[str, Any], aio: bool = False, borrowed: bool = False) -> Any:
        """What a ``$ref`` stands for here: the object itself, if it is one of ours."""
        from . import handle

        entry = self.table.find(ref["id"])
        return handle.of(self, ref, aio, borrowed) if entry is None else entry.object


_lock = threading.Lock()
_current: Optional[Session] = None
#: Whether a lost connection is not to be made anew: it was a hosted process's own.
_fixed = False


def connected() -> Session:
    """The session of this process.

    Raises :class:`~aigis.errors.Unavailable` if there is no way to the mesh.
    """
    session = _current
    if session is not None and not session.bridge.closed:
        return session
    return _connect()


def is_connected() -> bool:
    """Whether :func:`connected` answers at once."""
    return _current is not None and not _current.bridge.closed


def begin(mode: str, server: "Server", table: "Table") -> Session:
    """Connects as ``mode``, with what answers the host's invocations."""
    bridge = Bridge(connect(), mode, server)
    session = Session(bridge, server, table)
    server.session = session
    bridge.open(VERSION)
    table.ci = bridge.welcome.get("ci")
    return session


def install(session: Session) -> None:
    """Makes ``session`` the one of this process, for as long as it lives."""
    global _current, _fixed
    _current, _fixed = session, True


def forbid() -> None:
    """Lets no call leave this process: it only looks at a plugin."""
    global _fixed
    _fixed = True


def _connect() -> Session:
    global _current
    # What answers uses of handles builds on this module.
    from .._host.serving import Server
    from .._host.table import Table

    with _lock:
        if _current is not None and not _current.bridge.closed:
            return _current
        if _fixed:
            raise Unavailable("this process has no host", data={"sent": False})
        table = Table()
        _current = begin("client", Server(table), table)
        return _current


def _after_fork() -> None:
    """A child shares no connection with its parent: it makes its own with its first call."""
    global _current, _fixed, _lock
    _current, _fixed, _lock = None, False, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
