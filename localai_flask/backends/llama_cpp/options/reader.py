"""One model's `options:` against the table: typed values, and notes about those that have no effect or cannot be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from localai_flask.backends.llama_cpp.options.table import BY_NAME, NOT_HERE, OPTIONS, Option
from localai_flask.backends.notes import NO_EFFECT, Note, unknown_option


class Entries(NamedTuple):
    """The values that were given, by their fields; `defaults` has the others."""

    values: dict[str, Any]
    notes: list[Note]


def read_entries(entries: Iterable[str], draft_model: str = "") -> Entries:
    """Read `name:value` entries; a bare name means true, and the last of several wins."""
    read = Entries({}, [])
    for index, entry in enumerate(entries):
        _read_entry(entry, index, read)
    _settle_speculation(read, draft_model)
    if read.values.get("cpu_moe") and read.values.pop("n_cpu_moe", 0):
        read.notes.append(Note(("options",), f"the option n_cpu_moe is less than cpu_moe asks for; {NO_EFFECT}"))
    return read


def defaults() -> dict[str, Any]:
    """Return every option's default by its field."""
    return {option.field: option.default for option in OPTIONS}


def _read_entry(entry: str, index: int, read: Entries) -> None:
    name, _, text = (part.strip() for part in entry.partition(":"))
    text = text or "true"
    option, path = _find(name), ("options", index)
    if option is None:
        read.notes.append(Note(path, unknown_option(name, BY_NAME, "llama-cpp")))
        return
    try:
        value = option.kind.read(text)
    except ValueError as error:
        said = f"the option {name}:{text} {error}" + ("" if option.is_answer else f"; {NO_EFFECT}")
        read.notes.append(Note(path, said, is_fault=option.is_answer))
        return
    if option.in_vain and value != option.default:
        read.notes.append(Note(path, f"the option {name} has no effect, as {option.in_vain}"))
        return
    read.values[option.field] = value
    for kind in value if option.name == "spec_type" else ():
        if kind in NOT_HERE:
            read.notes.append(Note(path, f"the option {name}:{kind} has no effect, as {NOT_HERE[kind]}"))


def _find(name: str) -> Option | None:
    """Look an option up; the flags of llama.cpp's own server are taken where they have the name of an option."""
    return BY_NAME.get(name.lstrip("-").replace("-", "_") if name.startswith("-") else name)


def _settle_speculation(read: Entries, draft_model: str) -> None:
    """Leave those ways of guessing that there are; a draft model is one of them unless others are named."""
    asked = read.values.get("spec_type") or (("draft-simple",) if draft_model else ())
    kinds = [kind for kind in asked if kind != "none" and kind not in NOT_HERE]
    if "draft-simple" in kinds and not draft_model:
        kinds.remove("draft-simple")
        said = "the option spec_type:draft-simple has no effect, as there is no draft model; name one in `draft_model`"
        read.notes.append(Note(("options",), said))
    if draft_model and "draft-simple" not in kinds:
        said = f"`draft_model` has no effect with the option spec_type:{','.join(asked)}"
        read.notes.append(Note(("draft_model",), said))
    read.values["spec_type"] = tuple(kinds)
