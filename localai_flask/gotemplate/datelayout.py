"""Go's date layouts: a date is written and read as the reference date, Mon Jan 2 15:04:05 -0700 2006, looks."""

from __future__ import annotations

import datetime
import re

from localai_flask.gotemplate.errors import Fault

MONTHS = (
    "January", "February", "March", "April", "May", "June",
    "July", "August", "September", "October", "November", "December",
)  # fmt: skip
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

# Longer words first; `Jan` and `Mon` are words of their own only if no small letter follows.
LAYOUT = re.compile(
    r"January|Jan(?![a-z])|Monday|Mon(?![a-z])|MST|2006|Z07:00:00|Z070000|Z07:00|Z0700|Z07"
    r"|-07:00:00|-070000|-07:00|-0700|-07|[.,](?:0+|9+)(?!\d)|__2|002|_2(?!006)|01|02|03|04|05|06|15|1|2|3|4|5|PM|pm"
)


def write(date: datetime.datetime, layout: str) -> str:
    """Write an aware date in a layout."""
    return LAYOUT.sub(lambda match: _piece(date, match.group()), layout)


def _piece(date: datetime.datetime, word: str) -> str:
    if word[0] in ".,":
        return _fraction(date, word)
    if "07" in word:
        return offset_text(date, word)
    hour12 = date.hour % 12 or 12
    pieces = {
        "January": MONTHS[date.month - 1],
        "Jan": MONTHS[date.month - 1][:3],
        "Monday": DAYS[date.weekday()],
        "Mon": DAYS[date.weekday()][:3],
        "MST": date.tzname() or "",
        "2006": f"{date.year:04d}",
        "06": f"{date.year % 100:02d}",
        "01": f"{date.month:02d}",
        "1": str(date.month),
        "02": f"{date.day:02d}",
        "_2": f"{date.day:2d}",
        "2": str(date.day),
        "002": f"{date.timetuple().tm_yday:03d}",
        "__2": f"{date.timetuple().tm_yday:3d}",
        "15": f"{date.hour:02d}",
        "03": f"{hour12:02d}",
        "3": str(hour12),
        "04": f"{date.minute:02d}",
        "4": str(date.minute),
        "05": f"{date.second:02d}",
        "5": str(date.second),
        "PM": "PM" if date.hour >= 12 else "AM",
        "pm": "pm" if date.hour >= 12 else "am",
    }
    return pieces[word]


def _fraction(date: datetime.datetime, word: str) -> str:
    digits = f"{date.microsecond:06d}000"[: len(word) - 1]
    if word[1] == "9":
        digits = digits.rstrip("0")
    return word[0] + digits if digits else ""


def offset_text(date: datetime.datetime, word: str) -> str:
    """Write the offset from UTC in the shape of the layout's word."""
    seconds = int((date.utcoffset() or datetime.timedelta()).total_seconds())
    if word[0] == "Z" and seconds == 0:
        return "Z"
    sign, seconds = ("-", -seconds) if seconds < 0 else ("+", seconds)
    parts = [f"{seconds // 3600:02d}", f"{seconds // 60 % 60:02d}", f"{seconds % 60:02d}"]
    separator = ":" if ":" in word else ""
    count = len(word.replace(":", "")) // 2
    return sign + separator.join(parts[:count])


PATTERNS = {
    "January": rf"(?P<month_name>{'|'.join(MONTHS)})",
    "Jan": rf"(?P<month_abbr>{'|'.join(name[:3] for name in MONTHS)})",
    "Monday": rf"(?:{'|'.join(DAYS)})",
    "Mon": rf"(?:{'|'.join(name[:3] for name in DAYS)})",
    "MST": r"(?P<zone>[A-Z]{3,4})",
    "2006": r"(?P<year>\d{4})",
    "06": r"(?P<year2>\d{2})",
    "01": r"(?P<month>\d{2})",
    "1": r"(?P<month>\d{1,2})",
    "02": r"(?P<day>\d{2})",
    "_2": r"(?P<day>[ \d]?\d)",
    "2": r"(?P<day>\d{1,2})",
    "002": r"(?P<yday>\d{3})",
    "__2": r"(?P<yday>[ \d]{2}\d)",
    "15": r"(?P<hour>\d{2})",
    "03": r"(?P<hour12>\d{2})",
    "3": r"(?P<hour12>\d{1,2})",
    "04": r"(?P<minute>\d{2})",
    "4": r"(?P<minute>\d{1,2})",
    "05": r"(?P<second>\d{2})(?P<fraction>[.,]\d{1,9})?",
    "5": r"(?P<second>\d{1,2})(?P<fraction>[.,]\d{1,9})?",
    "PM": r"(?P<half>AM|PM)",
    "pm": r"(?P<half>am|pm)",
}


def read(layout: str, text: str) -> datetime.datetime:
    """Read a date in a layout; without an offset in it, it is in the server's zone. Raises `Fault`."""
    try:
        match = re.fullmatch(_pattern(layout), text, re.ASCII)
    except re.error as error:
        raise Fault(f"toDate: the layout {layout!r} names one part of the date twice") from error
    if match is None:
        raise Fault(f"toDate: {text!r} is no date in the layout {layout!r}")
    try:
        return _date({name: value for name, value in match.groupdict().items() if value is not None})
    except (ValueError, OverflowError) as error:
        raise Fault(f"toDate: {text!r} is no date: {error}") from error


def _pattern(layout: str) -> str:
    pieces, position, has_seconds = [], 0, False
    for match in LAYOUT.finditer(layout):
        word = match.group()
        pieces.append(re.escape(layout[position : match.start()]))
        position = match.end()
        if "07" in word:
            pieces.append(r"(?P<offset>Z|[+-][\d:]{2,8})" if word[0] == "Z" else r"(?P<offset>[+-][\d:]{2,8})")
        elif word[0] in ".,":
            # The seconds before it have read it already.
            pieces.append("" if has_seconds else r"(?P<fraction>[.,]\d{1,9})?")
        else:
            has_seconds = has_seconds or word in ("05", "5")
            pieces.append(PATTERNS[word])
    return "".join([*pieces, re.escape(layout[position:])])


def _date(parts: dict[str, str]) -> datetime.datetime:
    year = int(parts.get("year", "1"))
    if "year2" in parts:
        year = int(parts["year2"]) + (1900 if int(parts["year2"]) >= 69 else 2000)
    month = int(parts.get("month", "1"))
    if "month_name" in parts or "month_abbr" in parts:
        name = parts.get("month_name") or parts["month_abbr"]
        month = 1 + next(index for index, known in enumerate(MONTHS) if known.startswith(name))
    hour = int(parts.get("hour", "0"))
    if "hour12" in parts:
        hour = int(parts["hour12"]) % 12 + (12 if parts.get("half", "").lower() == "pm" else 0)
    micro = int(parts.get("fraction", ".0")[1:].ljust(6, "0")[:6])
    time = datetime.time(hour, int(parts.get("minute", "0")), int(parts.get("second", "0")), micro)
    day = datetime.date(year, month, int(parts.get("day", "1")))
    if "yday" in parts:
        day = datetime.date(year, 1, 1) + datetime.timedelta(days=int(parts["yday"]) - 1)
    date = datetime.datetime.combine(day, time)
    if "offset" in parts:
        return date.replace(tzinfo=_zone(parts["offset"]))
    return date.replace(tzinfo=datetime.UTC) if parts.get("zone") in ("UTC", "GMT") else date.astimezone()


def _zone(offset: str) -> datetime.tzinfo:
    if offset == "Z":
        return datetime.UTC
    digits = offset[1:].replace(":", "").ljust(6, "0")
    delta = datetime.timedelta(hours=int(digits[:2]), minutes=int(digits[2:4]), seconds=int(digits[4:6]))
    return datetime.timezone(-delta if offset[0] == "-" else delta)
