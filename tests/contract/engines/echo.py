"""Our engine without weights."""

from pathlib import Path

from tests.contract.engine import Engine, Yaml


def write_nothing(folder: Path) -> Yaml:
    """Answer slowly enough that an answer comes in pieces."""
    return {"options": ["tokens_per_second:200"]}


ENGINE = Engine(name="echo", is_quick=True, is_scripted=True, writer=write_nothing, chat_prompt="{}")
