"""The JavaScript clients that people use, each a script of its own, where Node.js is installed."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.server import Server

FOLDER = Path(__file__).parent / "node"

pytestmark = [
    pytest.mark.skipif(shutil.which("npm") is None, reason="Node.js is not installed"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def packages() -> Path:
    """The folder with the clients' packages, installed as the lock file says."""
    installed = FOLDER / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < (FOLDER / "package-lock.json").stat().st_mtime:
        done = subprocess.run(["npm", "ci", "--no-audit", "--no-fund"], cwd=FOLDER, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    return FOLDER


@pytest.mark.parametrize("script", ["openai", "anthropic", "ai", "ollama"])
def test_client(packages: Path, server: Server, script: str) -> None:
    command = ["node", f"{script}.mjs", server.url]
    done = subprocess.run(command, cwd=packages, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (0, "ok\n"), done.stdout + done.stderr
