"""What strangers' bodies may cost: about a second of the processor and 200 MB, whatever stands in 15 MB of them."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.support.hostile_bodies import BODIES

MOST_WORK = 20
"""How often an ordinary piece of work could be done meanwhile (0.1 s); no body takes more than 11."""
BYTES = 200e6


@pytest.fixture(scope="module")
def costs() -> dict[str, dict[str, Any]]:
    command = [sys.executable, "-m", "tests.support.hostile_bodies"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    return {told["name"]: told for told in map(json.loads, done.stdout.splitlines())}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", list(BODIES))
def test_no_body_costs_more_than_its_share(costs: dict[str, dict[str, Any]], name: str) -> None:
    cost = costs[name]
    assert cost["status"] in (200, 400, 404, 413), cost
    assert cost["seconds"] < MOST_WORK * cost["pace"] and cost["bytes"] < BYTES, cost
