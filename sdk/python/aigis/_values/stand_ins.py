"""What an enum member or a dataclass instance comes back as where its class is not imported."""

from __future__ import annotations

import dataclasses
import enum
import sys
from typing import Any, Dict, Mapping, NamedTuple


class Member(NamedTuple):
    """A member of an enum whose class this process does not have."""

    #: The class, as ``module.Class``.
    type: str
    #: The member's name and value.
    name: str
    value: Any


class Record:
    """An instance of a dataclass that this process does not have: its fields are attributes."""

    def __init__(self, type: str, fields: Mapping[str, Any]) -> None:
        """Makes a record of the class ``module.Class`` with those fields."""
        self.__dict__.update(fields)
        self.__dict__["__aigis_type__"] = type

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if isinstance(other, Record) else NotImplemented

    def __hash__(self) -> int:
        # Fields may be unhashable; equal records have the same names.
        return hash(frozenset(self.__dict__)) ^ hash(type_of(self))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={value!r}" for name, value in fields_of(self).items())
        return f"Record({type_of(self)!r}, {fields})"


def type_of(record: Record) -> str:
    """The class that a record stands for."""
    return str(record.__dict__["__aigis_type__"])


def fields_of(record: Record) -> Dict[str, Any]:
    """A record's fields, in order."""
    return {name: value for name, value in record.__dict__.items() if name != "__aigis_type__"}


def class_name(kind: type) -> str:
    """A class as it is named on the wire."""
    return f"{kind.__module__}.{kind.__qualname__}"


def member(type_name: str, name: str, value: Any) -> Any:
    """The member of an enum that is imported here, else a :class:`Member`."""
    kind = _imported(type_name)
    if isinstance(kind, type) and issubclass(kind, enum.Enum) and name in kind.__members__:
        return kind.__members__[name]
    return Member(type_name, name, value)


def record(type_name: str, fields: Dict[str, Any]) -> Any:
    """An instance of a dataclass that is imported here and has just these fields, else a :class:`Record`."""
    kind = _imported(type_name)
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return Record(type_name, fields)
    if {field.name for field in dataclasses.fields(kind)} != set(fields):
        return Record(type_name, fields)
    # No code of the class runs: data alone never makes anything happen.
    instance = object.__new__(kind)
    for name, value in fields.items():
        object.__setattr__(instance, name, value)
    return instance


def _imported(type_name: str) -> Any:
    """What is found under that name in the modules that are loaded, without loading any."""
    parts = type_name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        found: Any = sys.modules.get(".".join(parts[:length]))
        if found is None:
            continue
        for part in parts[length:]:
            found = vars(found).get(part) if hasattr(found, "__dict__") else None
        # A name may have been bound to something else since; the class must call itself so.
        return found if isinstance(found, type) and class_name(found) == type_name else None
    return None
