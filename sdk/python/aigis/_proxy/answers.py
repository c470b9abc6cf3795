"""What the frames of an answer mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._bridge import Exchange, Frame
from .._values import Unreadable, from_json
from .._values.faults import error_of
from ..errors import AigisError, Cancelled, DeadlineExceeded, Internal
from .target import Target

if TYPE_CHECKING:
    from .session import Session


def value(session: "Session", frame: Frame, target: Target, aio: bool) -> Any:
    """The value of a ``reply`` or ``item``.

    Raises :class:`~aigis.errors.Internal` if it cannot be read.
    """
    try:
        return from_json(frame.body.decode(), lambda ref: session.bring(ref, aio))
    except (Unreadable, UnicodeDecodeError) as error:
        raise Internal(f"the answer of {target.shown()} cannot be read: {error}") from None


def failure(session: "Session", frame: Any, target: Target, exchange: Exchange) -> AigisError:
    """The error that a frame is, or that there is none in time."""
    if frame is None:
        exchange.give_up()
        return DeadlineExceeded(f"{target.shown()} has not answered in time", data={"sent": True})
    if frame.kind == "lost":
        return session.bridge.lost_error()
    if frame.kind == "cancelled":
        exchange.give_up()
        return Cancelled(f"{target.shown()} was given up with the call that made it")
    if frame.kind != "error":
        exchange.give_up()
        return Internal(f"the host answered {target.shown()} with {frame.kind}")
    try:
        body = from_json(frame.body.decode(), lambda ref: session.bring(ref))
    except (Unreadable, UnicodeDecodeError):
        body = None
    return error_of(body, frame.header.get("ci"))
