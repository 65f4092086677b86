"""The requirement sets of environments: files of pip's form, with more in comments of the form `# key: value`.

`package` is the one whose version counts as the engine's, `uninstall` are those that other packages ask for and that do
harm, `size` is about what an environment takes on the disk.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from localai_flask.errors import ConfigError
from localai_flask.sizes import parse_bytes

FOLDER = Path(__file__).parent / "requirements"
PLATFORMS = ("cpu", "cuda")
OVERRIDES = ".overrides.txt"
"""The ending of a file beside a set, with what counts in place of what its packages ask for; uv knows how."""
_COMMENT = re.compile(r"#\s*(package|uninstall|size):\s*(.+?)\s*$", re.MULTILINE)
_INCLUDE = re.compile(r"-r\s+(\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class RequirementSet:
    """One file of the package."""

    name: str
    platform: str
    file: Path

    @cached_property
    def text(self) -> str:
        """What it says, with what it includes."""
        own = self.file.read_text()
        return _INCLUDE.sub(lambda found: (self.file.parent / found[1]).read_text().rstrip("\n"), own)

    @property
    def digest(self) -> str:
        """What tells it from that of another version of this package."""
        overrides = self.file.with_suffix(OVERRIDES)
        more = overrides.read_text() if overrides.exists() else ""
        return hashlib.sha256((self.text + more).encode()).hexdigest()[:16]

    @property
    def package(self) -> str:
        return self._said.get("package", self.name)

    @property
    def uninstalled(self) -> tuple[str, ...]:
        return tuple(self._said.get("uninstall", "").split())

    @property
    def size(self) -> int:
        """About how many bytes it takes; 0 if that is not known."""
        return parse_bytes(self._said["size"]) if "size" in self._said else 0

    @cached_property
    def _said(self) -> dict[str, str]:
        return dict(_COMMENT.findall(self.text))


def find_sets(name: str) -> dict[str, RequirementSet]:
    """Return the sets of an environment by platform."""
    found = {platform: FOLDER / f"{name}-{platform}.txt" for platform in PLATFORMS}
    return {platform: RequirementSet(name, platform, file) for platform, file in found.items() if file.exists()}


def choose_set(name: str, platform: str, *, has_card: bool) -> RequirementSet:
    """Return the set for a platform, "" for the one that suits this machine.

    Raises `ConfigError` if there is none.
    """
    sets = find_sets(name)
    if not platform:
        platform = "cuda" if has_card and "cuda" in sets else "cpu"
    if platform in sets:
        return sets[platform]
    others = ", ".join(f"--{each}" for each in sets)
    raise ConfigError(f"The {name} backend cannot be installed for {platform}; there is {others or 'no set for it'}.")
