"""A real llama-server, where there is one: named by its setting, or on PATH."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.support.required import skip_without

VARIABLE = "LOCALAI_LLAMA_SERVER"


def need_llama_server() -> Path:
    """Return the program, or skip the test."""
    named = os.environ.get(VARIABLE)
    found = named if named and Path(named).is_file() else shutil.which("llama-server")
    return Path(found) if found else skip_without("llama-server")
