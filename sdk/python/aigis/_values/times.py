"""Moments and spans as text, the same in every version of Python (``fromisoformat`` grew over them)."""

from __future__ import annotations

import datetime
import re
from typing import Optional

_CLOCK = r"(?P<hour>\d\d):?(?P<minute>\d\d)(?::?(?P<second>\d\d)(?:[.,](?P<fraction>\d{1,9}))?)?"
_ZONE = r"(?P<zone>[Zz]|[+-]\d\d(?::?\d\d(?::?\d\d(?:\.\d{1,6})?)?)?)?"
_TIME = re.compile(_CLOCK + _ZONE, re.ASCII)
_DATETIME = re.compile(r"(?P<date>\d{4}-\d\d-\d\d)[Tt ]" + _CLOCK + _ZONE, re.ASCII)
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_SPAN = re.compile(r"(?P<sign>-?)(?P<seconds>\d{1,15})(?:\.(?P<fraction>\d{1,9}))?", re.ASCII)


def read_datetime(text: str) -> datetime.datetime:
    """Reads an ISO 8601 moment; an offset stays a fixed one."""
    match = _whole(_DATETIME, text)
    return datetime.datetime.combine(read_date(match["date"]), _time(match))


def read_date(text: str) -> datetime.date:
    """Reads an ISO 8601 day."""
    _whole(_DATE, text)
    return datetime.date(*map(int, text.split("-")))


def read_time(text: str) -> datetime.time:
    """Reads an ISO 8601 time of day."""
    return _time(_whole(_TIME, text))


def write_span(span: datetime.timedelta) -> str:
    """Writes a span as decimal seconds, exact to the microsecond."""
    micros = (span.days * 86_400 + span.seconds) * 1_000_000 + span.microseconds
    seconds, rest = divmod(abs(micros), 1_000_000)
    fraction = f".{rest:06d}".rstrip("0") if rest else ""
    return f"{'-' if micros < 0 else ''}{seconds}{fraction}"


def read_span(text: str) -> datetime.timedelta:
    """Reads decimal seconds."""
    match = _whole(_SPAN, text)
    micros = int(match["seconds"]) * 1_000_000 + _micros(match["fraction"])
    return datetime.timedelta(microseconds=-micros if match["sign"] else micros)


def _whole(pattern: "re.Pattern[str]", text: str) -> "re.Match[str]":
    match = pattern.fullmatch(text)
    if match is None:
        raise ValueError(text)
    return match


def _micros(fraction: Optional[str]) -> int:
    return int((fraction or "0")[:6].ljust(6, "0"))


def _time(match: "re.Match[str]") -> datetime.time:
    clock = (int(match["hour"]), int(match["minute"]), int(match["second"] or 0), _micros(match["fraction"]))
    return datetime.time(*clock, tzinfo=_zone(match["zone"]))


def _zone(text: Optional[str]) -> Optional[datetime.tzinfo]:
    if not text:
        return None
    if text in "Zz":
        return datetime.timezone.utc
    digits, _, fraction = text[1:].replace(":", "").partition(".")
    hours, minutes, seconds = (int(digits[at : at + 2] or 0) for at in (0, 2, 4))
    offset = datetime.timedelta(hours=hours, minutes=minutes, seconds=seconds, microseconds=_micros(fraction))
    return datetime.timezone(-offset if text[0] == "-" else offset)
