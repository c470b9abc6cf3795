"""Frames: two lengths, a JSON header, a body; what is too large for one travels in parts."""

from __future__ import annotations

import json
import struct
from typing import Any, Callable, Dict, Iterator, List, NamedTuple, Tuple

#: The kinds of frames.
KINDS = frozenset("hello ready invoke call reply error item end credit cancel log stop".split())
#: The largest header, frame and whole body, in bytes.
MAX_HEADER = 64 * 1024
MAX_FRAME = 64 * 1024 * 1024
MAX_BODY = 256 * 1024 * 1024
#: Larger bodies go in parts of this size, so that one never holds up the small ones for long.
PART = 4 * 1024 * 1024
#: How many messages may be incomplete at once.
_MAX_INCOMPLETE = 256

_LENGTHS = struct.Struct(">II")
_SCAN = json.JSONDecoder().raw_decode
_QUOTE = json.encoder.encode_basestring_ascii
#: How much is asked for at once: where no frame says more, so little that the system has no new pages to map for it.
_READ = 32 * 1024
_READ_LARGE = 1024 * 1024


class Frame(NamedTuple):
    """One message: its kind, its header, and its body put together."""

    kind: str
    header: Dict[str, Any]
    body: bytes


class Violation(Exception):
    """The peer sent what is no frame; the connection ends."""


def pack(header: Dict[str, Any], body: bytes = b"") -> Iterator[bytes]:
    """The bytes of a message, one piece for each frame."""
    if len(body) <= PART:
        yield _one(header, body)
        return
    view = memoryview(body)
    for start in range(0, len(body), PART):
        if start:
            header = {key: header[key] for key in ("t", "id") if key in header}
        more = start + PART < len(body)
        yield _one({**header, "more": True} if more else header, bytes(view[start : start + PART]))


def _one(header: Dict[str, Any], body: bytes) -> bytes:
    # Headers are small and flat; this is several times as fast as an encoder for anything.
    head = f"{{{','.join([_pair(key, value) for key, value in header.items()])}}}".encode("ascii")
    if len(head) > MAX_HEADER:
        raise ValueError("the header of a frame is too long")
    return b"".join((_LENGTHS.pack(len(head), len(body)), head, body))


def _pair(key: str, value: Any) -> str:
    if type(value) is int:
        return f'"{key}":{value}'
    if type(value) is str:
        return f'"{key}":{_QUOTE(value)}'
    return f'"{key}":{json.dumps(value)}'


class Reader:
    """Makes messages of what a stream brings."""

    def __init__(self, receive: Callable[[int], bytes]) -> None:
        """Reads by ``receive(n)``, which gives up to ``n`` bytes, and none at the end."""
        self._receive = receive
        self._buffer = bytearray()
        self._incomplete: Dict[Tuple[str, Any], List[Any]] = {}

    def messages(self) -> Iterator[Frame]:
        """Each message as it is complete, until the stream ends.

        Raises :class:`Violation`, and what ``receive`` raises.
        """
        buffer = self._buffer
        while True:
            wanted = _READ
            while len(buffer) >= 8:
                head, body = _LENGTHS.unpack_from(buffer)
                if head > MAX_HEADER or head + body > MAX_FRAME:
                    raise Violation(f"a frame of {head} and {body} bytes")
                end = 8 + head + body
                if len(buffer) < end:
                    wanted = min(max(_READ, end - len(buffer)), _READ_LARGE)
                    break
                header = bytes(buffer[8 : 8 + head])
                content = bytes(buffer[8 + head : end])
                del buffer[:end]
                frame = self._frame(header, content)
                if frame is not None:
                    yield frame
            chunk = self._receive(wanted)
            if not chunk:
                return
            buffer += chunk

    def has_more(self) -> bool:
        """Whether a further frame is here already, so that the next message needs no waiting."""
        buffer = self._buffer
        if len(buffer) < 8:
            return False
        head, body = _LENGTHS.unpack_from(buffer)
        return bool(len(buffer) >= 8 + head + body)

    def _frame(self, head: bytes, body: bytes) -> Any:
        try:
            text = head.decode()
            header, end = _SCAN(text)
            kind = header["t"]
            if end != len(text) or kind not in KINDS:
                raise Violation(f"a frame of the unknown kind {str(kind)[:40]!r}")
        except (ValueError, TypeError, KeyError, RecursionError):
            raise Violation("a header that is no object with a kind") from None
        number = header.get("id")
        if number is not None and (type(number) is not int or not 0 < number < 2**53):
            raise Violation("an id that is no number")
        if not self._incomplete and "more" not in header:
            return Frame(kind, header, body)
        return self._join(kind, header, body)

    def _join(self, kind: str, header: Dict[str, Any], body: bytes) -> Any:
        key = (kind, header.get("id"))
        whole = self._incomplete.get(key)
        if whole is None:
            if "more" not in header:
                return Frame(kind, header, body)
            if len(self._incomplete) >= _MAX_INCOMPLETE:
                raise Violation("too many incomplete messages")
            whole = self._incomplete[key] = [header, bytearray()]
        whole[1] += body
        if len(whole[1]) > MAX_BODY:
            raise Violation("a body that is too large")
        if "more" in header:
            return None
        del self._incomplete[key]
        return Frame(kind, whole[0], bytes(whole[1]))
