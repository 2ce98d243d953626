"""Times: Unix milliseconds in the library, aware datetimes in UTC in the API, RFC 3339 in what people read."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MILLISECOND = timedelta(milliseconds=1)


def to_ms(time: datetime, what: str) -> int:
    """Unix milliseconds of a time, which must have a time zone."""
    if time.tzinfo is None:
        raise ValueError(f"{what} has no time zone: use datetime.now(timezone.utc) or .astimezone()")
    return (time - _EPOCH) // _MILLISECOND


def from_ms(ms: int) -> datetime:
    """An aware datetime in UTC, exact to the millisecond."""
    return _EPOCH + ms * _MILLISECOND


def parse_rfc3339(text: str) -> datetime:
    """A time of the library, which is in UTC."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def rfc3339(time: datetime) -> str:
    """``2026-11-24T13:30:00.000Z``."""
    return time.astimezone(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
