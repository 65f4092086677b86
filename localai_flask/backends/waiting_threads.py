"""Lets the threads that compute for torch sleep while they wait for each other; to be imported before torch is.

libgomp's own way is to spin for up to 300,000 rounds: beside other busy processes a step of a small Llama in vLLM then
took 137 ms on two cores, with 10,000 rounds 19, and asleep 1.2. Where one model has the machine to itself, set
OMP_WAIT_POLICY=active.
"""

from __future__ import annotations

import os

if "GOMP_SPINCOUNT" not in os.environ:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
