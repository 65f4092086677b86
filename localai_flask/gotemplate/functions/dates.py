"""sprig's functions on dates and durations. A date is an aware datetime, or seconds since 1970."""

from __future__ import annotations

import datetime
import re
import zoneinfo
from collections.abc import Callable
from typing import Any

from localai_flask.gotemplate.errors import Fault
from localai_flask.gotemplate.functions import date_layout
from localai_flask.gotemplate.values import Value, type_name

DURATION = re.compile(r"[+-]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:h|ms|m|s|us|µs|ns))+\Z", re.ASCII)
DURATION_PART = re.compile(r"([\d.]+)(h|ms|m|s|us|µs|ns)")
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
ROUND_UNITS = {"y": 365 * 86400, "mo": 30 * 86400, "d": 86400, "h": 3600, "m": 60, "s": 1}


def now() -> datetime.datetime:
    return datetime.datetime.now().astimezone()


def date(layout: str, moment: Any) -> str:
    return date_in_zone(layout, moment, "Local")


def date_in_zone(layout: str, moment: Any, zone: str) -> str:
    return date_layout.write(_shifted(_moment(moment), zone), layout)


def html_date(moment: Any) -> str:
    return date("2006-01-02", moment)


def html_date_in_zone(moment: Any, zone: str) -> str:
    return date_in_zone("2006-01-02", moment, zone)


def _moment(value: Value) -> datetime.datetime:
    if isinstance(value, datetime.datetime):
        return value
    if type(value) is not int:
        raise Fault(f"a date must come from `now`, or be seconds since 1970, not {type_name(value)}")
    try:
        return datetime.datetime.fromtimestamp(value, datetime.UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Fault(f"{value} seconds since 1970 is no date that can be written") from error


def _shifted(moment: datetime.datetime, zone: str) -> datetime.datetime:
    try:
        if zone == "Local":
            return moment.astimezone()
        return moment.astimezone(datetime.UTC if zone in ("", "UTC") else zoneinfo.ZoneInfo(zone))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise Fault(f"the time zone {zone[:40]!r} is not known") from error
    except OverflowError as error:
        raise Fault("a date goes beyond the years 1 to 9999") from error


def date_modify(change: str, moment: Any) -> datetime.datetime:
    try:
        return _moment(moment) + datetime.timedelta(seconds=_seconds(change))
    except OverflowError as error:
        raise Fault("a date goes beyond the years 1 to 9999") from error


def _seconds(text: str) -> float:
    if text in ("0", "+0", "-0"):
        return 0.0
    if not DURATION.match(text):
        raise Fault(f"{text[:40]!r} is no duration such as `1h30m` or `-10s`")
    total = sum(float(number) * UNITS[unit] for number, unit in DURATION_PART.findall(text))
    return -total if text.startswith("-") else total


def unix_epoch(moment: Any) -> str:
    return str(int(_moment(moment).timestamp() // 1))


def ago(moment: Any) -> str:
    return _duration_text(round((now() - _moment(moment)).total_seconds()))


def duration(seconds: Any) -> str:
    digits = re.fullmatch(r"[+-]?\d{1,18}", seconds, re.ASCII) if isinstance(seconds, str) else None
    if type(seconds) is not int and digits is None:
        raise Fault("duration takes a number of seconds")
    return _duration_text(int(seconds))


def _duration_text(seconds: int) -> str:
    sign, seconds = ("-", -seconds) if seconds < 0 else ("", seconds)
    hours, minutes = seconds // 3600, seconds // 60 % 60
    text = f"{seconds % 60}s"
    if seconds >= 60:
        text = f"{minutes}m{text}"
    return sign + (f"{hours}h{text}" if hours else text)


def duration_round(value: Any) -> str:
    """Write a duration ("2h10m5s", nanoseconds, or a date's age) in its largest unit alone."""
    if isinstance(value, str):
        seconds = _seconds(value)
    elif type(value) is int:
        seconds = value / 1e9
    else:
        seconds = (now() - _moment(value)).total_seconds()
    for unit, size in ROUND_UNITS.items():
        if abs(seconds) > size:
            return f"{int(abs(seconds) // size)}{unit}"
    return "0s"


TABLE: dict[str, Callable[..., Value]] = {
    "now": now,
    "date": date,
    "dateInZone": date_in_zone,
    "date_in_zone": date_in_zone,
    "htmlDate": html_date,
    "htmlDateInZone": html_date_in_zone,
    "dateModify": date_modify,
    "date_modify": date_modify,
    "mustDateModify": date_modify,
    "must_date_modify": date_modify,
    "unixEpoch": unix_epoch,
    "ago": ago,
    "duration": duration,
    "durationRound": duration_round,
}
