"""The logger that plugins are given, whose lines go to the plugin's log with the id of the call."""

from __future__ import annotations

import json
import logging
import sys
import time
from collections import deque
from typing import Any, Callable, Deque, List, Optional

from .._proxy.context import current_call
from ..errors import AigisError

BOOT = 41
SHUTDOWN = 42
logging.addLevelName(BOOT, "BOOT")
logging.addLevelName(SHUTDOWN, "SHUTDOWN")

#: Sends one line: source, level, text.
Send = Callable[[str, str, str], None]


class PluginLogger(logging.Logger):
    """A :class:`logging.Logger` with the levels of a plugin's life."""

    def __init__(self, name: str, send: Send) -> None:
        super().__init__(name, logging.DEBUG)
        self._last: Deque[str] = deque(maxlen=5)
        self.propagate = False
        self.addHandler(_Handler(send, self._last))

    def boot(self, message: Any, *args: Any, **kwargs: Any) -> None:
        """Logs a line about the plugin's start."""
        self.log(BOOT, message, *args, **kwargs)

    def shutdown(self, message: Any, *args: Any, **kwargs: Any) -> None:
        """Logs a line about the plugin's end."""
        self.log(SHUTDOWN, message, *args, **kwargs)

    def tail(self) -> List[str]:
        """The last 5 lines."""
        return list(self._last)


class _Handler(logging.Handler):
    def __init__(self, send: Send, last: Deque[str]) -> None:
        super().__init__()
        self._send = send
        self._last = last

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
            self._last.append(text)
            self._send("log", record.levelname.lower(), text)
        except Exception:
            self.handleError(record)


def sender(bridge: Any, gen: Optional[int]) -> Send:
    """Sends lines over the bridge; where it is gone, to standard error."""

    def send(source: str, level: str, text: str) -> None:
        header: Any = {"t": "log", "source": source, "level": level, "at": round(time.time(), 6)}
        if gen is not None:
            header["gen"] = gen
        call = current_call()
        if call is not None and call.id:
            header["call"] = call.id
        try:
            bridge.send(header, text.encode(errors="backslashreplace"))
        except AigisError:
            print(text, file=sys.__stderr__)

    return send


def to_stderr(source: str, level: str, text: str) -> None:
    """For where there is no host."""
    print(json.dumps({"source": source, "level": level, "line": text}), file=sys.stderr)
