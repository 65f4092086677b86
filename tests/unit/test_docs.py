"""The documentation's table of settings is printed from the settings themselves."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

from localai_flask.settings import Settings, env_name

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
MARKS = re.compile(r"(?<=<!-- settings -->\n).*(?=<!-- /settings -->)", re.DOTALL)


def table() -> str:
    rows = ["| flag | variable | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(Settings):
        default = "" if field.default in ("", ()) else f"`{str(field.default).lower()}`"
        flag = f"`--{field.name.replace('_', '-')}`"
        rows.append(f"| {flag} | `{env_name(field)}` | {default} | {field.metadata['help']} |")
    return "\n".join(rows) + "\n"


def test_the_table_of_settings_is_current() -> None:
    found = MARKS.search(PAGE.read_text())
    assert found is not None
    assert found.group() == table(), "run: python -m tests.unit.test_docs"


if __name__ == "__main__":
    PAGE.write_text(MARKS.sub(lambda _: table(), PAGE.read_text()))
