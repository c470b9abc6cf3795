"""The stream between this process and its host, as ``docs/specs/bridge.md`` says it."""

from __future__ import annotations

from .bridge import Bridge, Peer
from .exchange import Exchange
from .frames import Frame

__all__ = ["Bridge", "Exchange", "Frame", "Peer"]
