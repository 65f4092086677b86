"""What an engine of ours declares that it takes, asked in the environment that can import it."""

from __future__ import annotations

from localai_flask import backends
from localai_flask.backends.takes import BASIC, HINTS


def takes(backend: str) -> dict[str, list[str]]:
    """Return the names of the sampling fields, the kinds of constraints and of inputs."""
    declared = backends.create(backend).takes
    return {
        "sampling": sorted(declared.sampling | BASIC | HINTS),
        "constraints": sorted(declared.constraints),
        "inputs": sorted(declared.inputs),
    }
