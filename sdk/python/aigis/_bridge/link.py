"""The two ways to a host: the socket that a hosted process is given, and ``aish sdk-bridge`` for everybody else."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from typing import IO, Any, Optional

from ..errors import Unavailable


class Link:
    """A stream of bytes to the host."""

    def receive(self, most: int) -> bytes:
        """Waits for up to ``most`` bytes; none means the end."""
        raise NotImplementedError

    def send(self, data: bytes) -> None:
        """Writes all of ``data``; the caller sees to it that one does at a time."""
        raise NotImplementedError

    def close(self) -> None:
        """Ends the stream, and a ``receive`` that waits."""
        raise NotImplementedError

    def last_words(self) -> str:
        """What the host's own process said for people, if there is one."""
        return ""


class SocketLink(Link):
    """A Unix socket."""

    def __init__(self, peer: socket.socket) -> None:
        self._socket = peer
        self.receive = peer.recv  # type: ignore[assignment, method-assign]
        self.send = peer.sendall  # type: ignore[assignment, method-assign]

    @classmethod
    def to(cls, path: str) -> "SocketLink":
        """Connects to the socket at ``path``."""
        peer = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            peer.settimeout(10)
            peer.connect(path)
            peer.settimeout(None)
        except OSError as error:
            peer.close()
            message = f"the host of this process cannot be reached at {path}: {error}"
            raise Unavailable(message, data={"sent": False}) from None
        return cls(peer)

    def close(self) -> None:
        try:
            self._socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # It is closed already.
        self._socket.close()


class ProcessLink(Link):
    """The standard streams of ``aish sdk-bridge``, which ends when its input does."""

    def __init__(self, program: str) -> None:
        self._words: IO[bytes] = tempfile.TemporaryFile()
        try:
            # A session of its own: a Ctrl-C is ours to answer, by cancelling what runs.
            self._process: "subprocess.Popen[bytes]" = subprocess.Popen(
                [program, "sdk-bridge"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._words,
                start_new_session=True,
            )
        except OSError as error:
            raise Unavailable(f"{program} cannot be started: {error}", data={"sent": False}) from None

    def _end(self, name: str) -> Any:
        return getattr(self._process, name)

    def receive(self, most: int) -> bytes:
        return os.read(self._end("stdout").fileno(), most)

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[os.write(self._end("stdin").fileno(), view) :]

    def close(self) -> None:
        try:
            self._end("stdin").close()
        except OSError:
            pass  # What was still to be written is lost with the bridge.
        threading.Thread(target=self._reap, name="aigis-bridge-end", daemon=True).start()

    def _reap(self) -> None:
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def last_words(self) -> str:
        try:
            self._process.wait(1)
        except subprocess.TimeoutExpired:
            pass
        self._words.seek(0)
        return self._words.read(64 * 1024).decode(errors="replace").strip()[-2_000:]


def connect(socket_path: Optional[str] = None) -> Link:
    """The way that this process has: ``AIGIS_SOCKET``, else ``AIGIS_AISH`` or ``aish`` on PATH.

    Raises :class:`~aigis.errors.Unavailable` if there is none.
    """
    path = socket_path or os.environ.get("AIGIS_SOCKET")
    if path:
        return SocketLink.to(path)
    program = os.environ.get("AIGIS_AISH") or shutil.which("aish")
    if not program:
        raise Unavailable(
            "there is no way to the mesh: aish is not on PATH",
            hint="install aish, or set AIGIS_AISH to where it is",
            data={"sent": False},
        )
    return ProcessLink(program)
