"""What a call can fail with: one class for each code of the mesh.

Each class is an :class:`AigisError` and also the builtin that says the same, so ``except TimeoutError`` catches a
deadline as ``except aigis.errors.DeadlineExceeded`` does. A skill may raise them; they reach the caller with their
code.
"""

from __future__ import annotations

from typing import Any, Dict, Mapping, Optional, Sequence, Type

__all__ = [
    "AigisError",
    "AlreadyExists",
    "Cancelled",
    "DataLoss",
    "DeadlineExceeded",
    "FailedPrecondition",
    "Internal",
    "InvalidArgument",
    "NotFound",
    "PermissionDenied",
    "RemoteError",
    "ResourceExhausted",
    "Unavailable",
    "Unimplemented",
]


class AigisError(Exception):
    """A call's failure: a code, what failed and why, and what to do next."""

    code: str = "internal"
    message: str
    hint: Optional[str]
    data: Dict[str, Any]
    ci: Optional[str]

    def __init__(
        self,
        message: str = "",
        *,
        hint: Optional[str] = None,
        data: Optional[Mapping[str, Any]] = None,
        ci: Optional[str] = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.data = dict(data or {})
        self.ci = ci

    def __str__(self) -> str:
        # The builtins that are mixed in have words of their own (KeyError quotes, OSError counts its arguments).
        return self.message


class InvalidArgument(AigisError, ValueError, TypeError):
    """The arguments cannot be used."""

    code = "invalid_argument"


class NotFound(AigisError, AttributeError):
    """No such CI or skill, or no such thing named in the arguments."""

    code = "not_found"


class Unavailable(AigisError, ConnectionError):
    """Known, but does not answer. ``data["sent"]`` says whether the call may have run."""

    code = "unavailable"


class DeadlineExceeded(AigisError, TimeoutError):
    """The deadline passed first."""

    code = "deadline_exceeded"


class Cancelled(AigisError):
    """The caller gave up."""

    code = "cancelled"


class PermissionDenied(AigisError, PermissionError):
    """The role or the grant does not permit it."""

    code = "permission_denied"


class AlreadyExists(AigisError):
    """The name or the key is taken."""

    code = "already_exists"


class FailedPrecondition(AigisError):
    """The state of things does not allow it."""

    code = "failed_precondition"


class ResourceExhausted(AigisError):
    """A limit was reached."""

    code = "resource_exhausted"


class Unimplemented(AigisError, NotImplementedError):
    """Known, but not offered here."""

    code = "unimplemented"


class DataLoss(AigisError):
    """Stored data is damaged or missing."""

    code = "data_loss"


class Internal(AigisError):
    """A fault of the mesh or of this package, not of the skill."""

    code = "internal"


class RemoteError(AigisError):
    """What a skill raised, over there.

    Its class has the name of the remote one and is also the nearest builtin that the remote one is: ``except
    ValueError`` catches a remote ``ValueError``, and ``except aigis.cool.Mine`` one that ``cool`` exposes.
    """

    code = "internal"
    #: The name of the remote class, and the module that it is defined in.
    type: str = "Exception"
    module: str = ""
    #: The remote classes that it is, nearest first.
    bases: Sequence[str] = ()
    #: The remote traceback, with paths relative to the plugin.
    traceback: str = ""
    #: The paths at which the remote class, or one of its bases, can be had.
    exposed_as: Sequence[str] = ()


#: The class of each code.
BY_CODE: Dict[str, Type[AigisError]] = {
    kind.code: kind
    for kind in (
        InvalidArgument,
        NotFound,
        Unavailable,
        DeadlineExceeded,
        Cancelled,
        PermissionDenied,
        AlreadyExists,
        FailedPrecondition,
        ResourceExhausted,
        Unimplemented,
        DataLoss,
        Internal,
    )
}
