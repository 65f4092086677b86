"""Tries an engine as a worker would run it: `python -m localai_flask.pool.worker.trial ENGINE FOLDER`.

The folder has a model, and a file with the keys of its YAML (backends/environments/samples). Ends with 1 and one line
on standard error if the engine cannot be loaded or brings forth nothing.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import tempfile
from pathlib import Path
from typing import Any

import msgspec

from localai_flask.backends.environments.samples import FILE
from localai_flask.config.model import ModelConfig
from localai_flask.generation import Failed, Finished, Prompt
from localai_flask.pool.in_hand import InHand
from localai_flask.pool.messages import Answer, Generate
from localai_flask.pool.worker.engine.engine_thread import EngineThread
from localai_flask.sampling_params import SamplingParams

PROMPT, TOKENS = "Hello", 8
PATIENCE_S = 600.0


def run_trial(config: ModelConfig) -> str:
    """Generate with a model; return why that did not work, "" if it did."""
    answers: queue.SimpleQueue[Answer | None] = queue.SimpleQueue()

    def publish(_: Any, found: list[tuple[int, Answer]]) -> None:
        for _, answer in found:
            answers.put(answer)

    with tempfile.TemporaryDirectory(prefix="localai-flask-hand-") as folder:
        hand = Path(folder) / "hand"
        hand.touch()
        engine = EngineThread(
            config.engine, publish, lambda: answers.put(None), InHand(hand), queue_size=lambda: 1, is_prepared=True
        )
        channel: Any = object()  # only a name to the engine's thread
        engine.submit(channel, 1, Generate(Prompt(PROMPT), SamplingParams(max_tokens=TOKENS, temperature=0.0)))
        engine.start()
        reason = _follow(engine, answers)
        engine.stop(0 if reason else 5)
    return reason


def _follow(engine: EngineThread, answers: queue.SimpleQueue[Answer | None]) -> str:
    while True:
        try:
            answer = answers.get(timeout=PATIENCE_S)
        except queue.Empty:
            return f"It generated nothing for {PATIENCE_S:.0f} s."
        if isinstance(answer, Failed):
            return answer.error.message
        if isinstance(answer, Finished):
            return "" if answer.usage.completion_tokens else "It generated nothing."
        if answer is None:
            return str(engine.error) if engine.error is not None else "The engine broke."


def main() -> None:
    """Try an engine, and end without its destructors, which may wait."""
    engine, folder = sys.argv[1:]
    keys = json.loads((Path(folder) / FILE).read_text())
    config = msgspec.convert({"name": "trial", "backend": engine, "models_path": folder, **keys}, ModelConfig)
    reason = run_trial(config)
    if reason:
        print(" ".join(reason.split()), file=sys.stderr)
    sys.stderr.flush()
    os._exit(1 if reason else 0)


if __name__ == "__main__":
    main()
