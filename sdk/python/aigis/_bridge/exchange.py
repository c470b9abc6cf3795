"""One call of ours, from its frame to the last of its answer."""

from __future__ import annotations

import time
from _thread import allocate_lock
from collections import deque
from typing import TYPE_CHECKING, Callable, Deque, Optional

from .frames import Frame

if TYPE_CHECKING:
    from .bridge import Bridge

#: The longest that anything is waited for: nothing in the mesh takes longer.
LONGEST = 24 * 60 * 60 + 60.0


class Exchange:
    """What the host answers to one ``call``; one thread puts frames in, one reader takes them out."""

    __slots__ = ("_bridge", "_frames", "_signal", "number", "wake")

    def __init__(self, bridge: "Bridge", number: int) -> None:
        self._bridge = bridge
        self._frames: Deque[Frame] = deque()
        # Held while there is nothing to see: a lock is the cheapest thing to wait for.
        self._signal = allocate_lock()
        self._signal.acquire()
        self.number = number
        #: What tells the reader that there is something, where it does not wait in :meth:`take`.
        self.wake: Optional[Callable[[], None]] = None

    def put(self, frame: Frame) -> None:
        """Adds what has come; for the bridge alone."""
        self._frames.append(frame)
        if self._signal.locked():
            self._signal.release()
        wake = self.wake
        if wake is not None:
            wake()

    def poll(self) -> Optional[Frame]:
        """The next frame, if it is there."""
        return self._frames.popleft() if self._frames else None

    def take(self, deadline: Optional[float]) -> Optional[Frame]:
        """Waits for the next frame, until ``deadline`` on the monotonic clock; ``None`` if it passes."""
        if not self._frames:
            self._bridge.wait_for(self._frames, deadline is None)
        while not self._frames:
            left = LONGEST if deadline is None else min(deadline - time.monotonic(), LONGEST)
            if left <= 0 or not self._signal.acquire(timeout=left):
                return None
        return self._frames.popleft()

    def interrupt(self) -> None:
        """Ends the wait: the call that this one serves was given up."""
        self.put(Frame("cancelled", {}, b""))

    def grant(self, count: int) -> None:
        """Lets the other side send ``count`` further items."""
        self._bridge.send({"t": "credit", "id": self.number, "n": count})

    def give_up(self) -> None:
        """Wants no answer any more; what has been answered in full is left as it is."""
        self._bridge.forget(self.number)
