"""The examples in the documentation: fenced blocks, and commands between the words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
EXCUSE = r"(?:^<!-- not run in tests: (?P<excuse>[^\n]+) -->\n)?"
OUTPUT = r"(?=(?:\n\n```text\n(?P<output>.*?)^```$)?)"
FENCE = re.compile(EXCUSE + r"^```(?P<language>\w*)\n(?P<text>.*?)^```$" + OUTPUT, re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:localai-flask|make|pip|python3?) [^`]+)`")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page; one that tests do not run has an excuse."""

    page: str
    line: int
    language: str
    text: str
    excuse: str
    output: str
    """What the page says that comes; empty if it says nothing."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def read_blocks(*languages: str) -> list[Block]:
    """Read the blocks of all pages that are in one of the languages."""
    return [block for page in PAGES for block in _blocks(page) if block.language in languages]


def _blocks(page: Path) -> list[Block]:
    text = page.read_text()
    found = []
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start("text"))
        found.append(
            Block(page.name, line, match["language"], match["text"], match["excuse"] or "", match["output"] or "")
        )
    return found


def read_commands() -> list[tuple[str, str]]:
    """Read every command of all pages, in blocks and between words, with the page that has it."""
    commands = [
        (str(block), line) for block in read_blocks("sh") for line in block.text.replace("\\\n", " ").splitlines()
    ]
    for page in PAGES:
        commands += [(page.name, command) for command in INLINE.findall(FENCE.sub("", page.read_text()))]
    return commands
