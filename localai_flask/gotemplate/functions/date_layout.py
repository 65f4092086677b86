"""Go's date layouts: a date is written as the reference date, Mon Jan 2 15:04:05 -0700 2006, looks."""

from __future__ import annotations

import datetime
import re

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
