"""What core plugins print: they share one process, so each line goes to the log of the plugin whose code printed it."""

from __future__ import annotations

import io
import sys
import threading
from typing import Any, Dict, TextIO, Tuple

from .._proxy.context import scope

#: A longer line goes out in parts.
_MAX_LINE = 16 * 1024


class Output(io.TextIOBase):
    """Stands in for ``sys.stdout`` or ``sys.stderr`` of a core host."""

    def __init__(self, real: TextIO, source: str) -> None:
        self._real = real
        self._source = source
        self._begun: Dict[Tuple[int, int], str] = {}
        self._lock = threading.RLock()

    def write(self, text: str) -> int:
        """Writes, line by line, to the log of the plugin that runs; outside any, to the process's own output."""
        plugin = scope.get().plugin
        if plugin is None:
            return self._real.write(text)
        key = (id(plugin), threading.get_ident())
        with self._lock:
            lines = (self._begun.pop(key, "") + text).split("\n")
            rest = lines.pop()
            while len(rest) > _MAX_LINE:
                lines.append(rest[:_MAX_LINE])
                rest = rest[_MAX_LINE:]
            if rest:
                self._begun[key] = rest
        for line in lines:
            for at in range(0, max(1, len(line)), _MAX_LINE):
                plugin.send(self._source, "info", line[at : at + _MAX_LINE])
        return len(text)

    def flush(self) -> None:
        """Writes out what the process itself has printed."""
        self._real.flush()

    def writable(self) -> bool:
        """It is."""
        return True

    def fileno(self) -> int:
        """The process's own output, for programs that are started with it."""
        return self._real.fileno()

    def isatty(self) -> bool:
        """It is no terminal."""
        return False

    @property
    def encoding(self) -> Any:  # type: ignore[override]
        """The encoding of the process's own output."""
        return self._real.encoding

    @property
    def buffer(self) -> Any:
        """The process's own output, for bytes."""
        return getattr(self._real, "buffer", None)


def capture() -> None:
    """Has what plugins print go to their logs."""
    sys.stdout = Output(sys.stdout, "stdout")
    sys.stderr = Output(sys.stderr, "stderr")
