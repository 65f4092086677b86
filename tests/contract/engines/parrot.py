"""An engine of another package, which has an entry point."""

from pathlib import Path

from tests.contract.engine import Engine, Yaml
from tests.support import plugin


def write_file(folder: Path) -> Yaml:
    (folder / "parrot.bin").write_bytes(b"what this engine needs")
    return {"parameters": {"model": "parrot.bin"}, "options": ["tokens_per_second:200"]}


ENGINE = Engine(
    name="parrot", is_quick=True, is_scripted=True, writer=write_file, packages=plugin.write, chat_prompt="{}"
)
