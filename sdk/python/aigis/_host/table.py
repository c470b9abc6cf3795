"""The objects of this process that others hold."""

from __future__ import annotations

import functools
import secrets
import threading
import time
from typing import Any, Dict, List, Optional

from .._proxy import leases
from .._proxy.context import scope
from .._proxy.handle import Handle
from .._proxy.path import target_of
from .._values import Export, Unsendable, class_name, refuse
from ..errors import FailedPrecondition, PermissionDenied, ResourceExhausted

#: How many objects of one plugin a caller may hold.
MAX_HELD = 1000

#: How long after a call what was lent to it may still be asked for.
_MOMENT_S = 5.0

#: Which effect includes which.
ORDER = {"read": 0, "write": 1, "admin": 2}


class Entry:
    """An object that is held, by whom, and until when."""

    __slots__ = ("aio", "effect", "entered", "holders", "id", "maker", "object", "owner")

    def __init__(self, number: str, value: Any, maker: str, owner: Any, effect: str, aio: bool) -> None:
        self.id = number
        self.object = value
        self.maker = maker
        #: The plugin whose code made it, and the effect of the skill that did.
        self.owner = owner
        self.effect = effect
        self.aio = aio
        self.holders: Dict[str, float] = {maker: time.monotonic() + leases.LEASE_S}
        #: How many times it was entered as a context and not left.
        self.entered = 0


class Table:
    """What this process has given handles for. Safe on any thread."""

    def __init__(self) -> None:
        self._entries: Dict[str, Entry] = {}
        self._counts: Dict[Any, int] = {}
        self._lock = threading.Lock()
        self._watched = False
        #: The CI under which objects are reached, unless their plugin has one of its own.
        self.ci: Optional[str] = None

    def lend(self, lent: List[str]) -> Export:
        """Gives handles to whom the running code calls; notes their ids in ``lent``, for :meth:`settle`."""

        def export(value: Any) -> Dict[str, Any]:
            return self.export(value, lent)

        return export

    def settle(self, lent: List[str]) -> None:
        """The call that objects were lent to is over: whoever goes on holding one has said so within a moment."""
        for number in lent:
            entry = self._entries.get(number)
            if entry is not None and "" in entry.holders:
                entry.holders[""] = time.monotonic() + _MOMENT_S

    def export(self, value: Any, lent: Optional[List[str]] = None) -> Dict[str, Any]:
        """Gives a handle for ``value`` to whoever the running code answers.

        Raises :class:`Unsendable`, and :class:`~aigis.errors.ResourceExhausted` beyond :data:`MAX_HELD`.
        """
        if isinstance(value, Handle):
            return value.__aigis_ref__()
        target = target_of(value)
        if target is not None:
            raise Unsendable(f"{target.shown()} is a path, no value: call it, {target.shown()}()")
        here = scope.get()
        ci = getattr(here.plugin, "ci", None) or self.ci
        if ci is None:
            return refuse(value)
        call = here.call
        # Whom it is lent to is not known here, so that the first hold is this process's own.
        maker = f"{call.role}.{call.caller}" if call is not None and lent is None else ""
        number = "r" + secrets.token_hex(16)
        aio = hasattr(value, "__aiter__") and not hasattr(value, "__iter__")
        entry = Entry(number, value, maker, here.plugin, call.effect if call is not None else "write", aio)
        self._add(entry)
        if lent is not None:
            lent.append(number)
        kind = "iterator" if aio or hasattr(value, "__next__") else "callable" if callable(value) else "object"
        named = value if isinstance(value, type) else type(value)
        return {"id": number, "ci": ci, "kind": kind, "type": class_name(named), "lease_s": int(leases.LEASE_S)}

    def _add(self, entry: Entry) -> None:
        whose = (entry.maker, id(entry.owner))
        with self._lock:
            held = self._counts.get(whose, 0)
            if held >= MAX_HELD and entry.maker:
                raise ResourceExhausted(f"{entry.maker or 'this process'} holds {held} objects here; release some")
            self._counts[whose] = held + 1
            self._entries[entry.id] = entry
            watched, self._watched = self._watched, True
        if not watched:
            leases.watch(self)

    def find(self, number: str) -> Optional[Entry]:
        """The entry of that id, if it is one of ours."""
        return self._entries.get(number)

    def use(self, number: str, caller: str, may: str) -> Entry:
        """The entry of that id, for a use of it by ``caller``, which holds it from now on.

        Raises :class:`~aigis.errors.FailedPrecondition` if it is gone, :class:`~aigis.errors.PermissionDenied` if its
        effect is beyond ``may``.
        """
        entry = self._entries.get(number)
        if entry is None:
            raise FailedPrecondition("handle expired", hint="it was released, or its process ended; ask for a new one")
        if ORDER.get(entry.effect, 2) > ORDER.get(may, -1):
            raise PermissionDenied(f"the handle has the effect {entry.effect}; {caller} may {may or 'nothing'} here")
        entry.holders[caller] = time.monotonic() + leases.LEASE_S
        return entry

    def release(self, number: str, caller: str) -> None:
        """Ends what ``caller`` holds of it; what nobody holds goes."""
        entry = self._entries.get(number)
        if entry is None:
            return
        entry.holders.pop(caller, None)
        if not entry.holders:
            self._drop([entry])

    def sweep(self) -> None:
        """Lets go of what no holder has given a sign for."""
        now = time.monotonic()
        stale = []
        for entry in tuple(self._entries.values()):
            if all(until <= now for until in tuple(entry.holders.values())):
                stale.append(entry)
        self._drop(stale)

    def end(self, owner: Any) -> None:
        """Lets go of all that a plugin's code has given."""
        self._drop([entry for entry in tuple(self._entries.values()) if entry.owner is owner])

    def held_by(self) -> Dict[str, int]:
        """How many objects each caller holds."""
        counts: Dict[str, int] = {}
        for entry in tuple(self._entries.values()):
            for holder in filter(None, tuple(entry.holders)):
                counts[holder] = counts.get(holder, 0) + 1
        return counts

    def _drop(self, entries: List[Entry]) -> None:
        for entry in entries:
            with self._lock:
                if self._entries.pop(entry.id, None) is None:
                    continue
                whose = (entry.maker, id(entry.owner))
                self._counts[whose] -= 1
                if not self._counts[whose]:
                    del self._counts[whose]
            if entry.entered:
                leases.later(functools.partial(_leave, entry))


def _leave(entry: Entry) -> None:
    """Leaves a context that its user entered and can leave no more."""
    error = FailedPrecondition("handle expired")
    while entry.entered:
        entry.entered -= 1
        try:
            type(entry.object).__exit__(entry.object, type(error), error, None)
        except BaseException as fault:
            if fault is not error and entry.owner is not None:
                entry.owner.logger.error("leaving an expired context failed", exc_info=fault)
