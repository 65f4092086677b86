"""What vLLM reads from the process's environment; to be imported before it."""

from __future__ import annotations

import os

SETTINGS = {
    "DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "WARNING",
    # The engine runs in the model worker, so that it ends with it, and rows can be looked at between two steps.
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    # Workers of several devices are fresh processes, as this one has threads.
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
    # Bound to cores, each model would want the same ones.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}

for name, value in SETTINGS.items():
    os.environ.setdefault(name, value)
