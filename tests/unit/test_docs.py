"""The documentation's tables of settings and of keys that are not read are printed from the settings and the keys."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest

from localai_flask.config.model_yaml.key_fates import KEY_FATES
from localai_flask.settings import Settings
from localai_flask.settings.fields import env_name, render

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"


def between(name: str) -> re.Pattern[str]:
    return re.compile(rf"(?<=<!-- {name} -->\n).*(?=<!-- /{name} -->)", re.DOTALL)


def table_of_settings() -> str:
    rows = ["| flag | variable | default | change | meaning |", "|---|---|---|---|---|"]
    for field in dataclasses.fields(Settings):
        default = "" if field.default in ("", ()) else f"`{render(field.default).lower()}`"
        flag = f"`--{field.name.replace('_', '-')}`"
        change = "restart" if field.metadata["needs_restart"] else "reload"
        rows.append(f"| {flag} | `{env_name(field)}` | {default} | {change} | {field.metadata['help']} |")
    return "\n".join(rows) + "\n"


def table_of_fates() -> str:
    """Group the keys by what is said of them, the refused ones first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for key, fate in KEY_FATES.items():
        said = f"{fate.sentence} ({fate.because})" if fate.because else fate.sentence
        groups.setdefault((fate.effect, said), []).append(f"`{key}`")
    rows = [
        f"| {effect} | {', '.join(keys)} | {said} |"
        for (effect, said), keys in sorted(groups.items(), key=lambda group: EFFECTS.index(group[0][0]))
    ]
    return "\n".join(["| | keys | |", "|---|---|---|", *rows]) + "\n"


EFFECTS = ("refused", "warned", "quiet")
TABLES = {"settings": table_of_settings, "fates": table_of_fates}


@pytest.mark.parametrize("name", TABLES)
def test_the_tables_are_current(name: str) -> None:
    found = between(name).search(PAGE.read_text())
    assert found is not None
    assert found.group() == TABLES[name](), "run: python -m tests.unit.test_docs"


if __name__ == "__main__":
    for name, table in TABLES.items():
        PAGE.write_text(between(name).sub(lambda _, table=table: table(), PAGE.read_text()))
