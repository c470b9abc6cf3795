"""Values: what travels as data, how it is written, and what it comes back as, as ``docs/specs/envelope.md`` says."""

from __future__ import annotations

from .decode import Import, Unreadable, from_json
from .encode import Encoder, Export, Unsendable, dump, refuse, to_json
from .stand_ins import Member, Record, class_name

__all__ = [
    "Encoder",
    "Export",
    "Import",
    "Member",
    "Record",
    "Unreadable",
    "Unsendable",
    "class_name",
    "dump",
    "from_json",
    "refuse",
    "to_json",
]
