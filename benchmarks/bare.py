"""The bare decode loop: llama.cpp's C calls and nothing else, as the measure of what the server adds.

Run as a process of its own: `python -m benchmarks.bare MODEL.gguf --streams 8 --tokens 128 --threads 2` prints JSON.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import time
from typing import Any

# As the server's threads wait on an idle machine.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

import llama_cpp.llama_cpp as lib


class Bare:
    """One model and one context, decoding `streams` sequences in step."""

    def __init__(self, path: str, streams: int, context: int, threads: int):
        lib.llama_backend_init()
        self._log = lib.llama_log_callback(lambda *_: None)
        lib.llama_log_set(self._log, ctypes.c_void_p(0))
        self.model = lib.llama_model_load_from_file(path.encode(), lib.llama_model_default_params())
        params = lib.llama_context_default_params()
        params.n_ctx, params.n_seq_max, params.n_batch, params.kv_unified = context * streams, streams, 512, True
        params.n_threads = params.n_threads_batch = threads
        self.context = lib.llama_init_from_model(self.model, params)
        self.sampler = lib.llama_sampler_init_greedy()
        self.batch = lib.llama_batch_init(512, 0, 1)

    def decode(self, rows: list[tuple[int, int, int, bool]]) -> None:
        """Run one batch of (token, position, sequence, whether its logits are wanted)."""
        batch: Any = self.batch
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, position, 1, sequence
            batch.logits[i] = wanted
        if lib.llama_decode(self.context, batch) != 0:
            raise RuntimeError("llama_decode failed")

    def run(self, streams: int, prompt: list[int], tokens: int) -> float:
        """Decode that many tokens for each stream after the prompt; return seconds from the first batch to the last."""
        lib.llama_memory_clear(lib.llama_get_memory(self.context), True)
        begun = time.perf_counter()
        last = []
        for sequence in range(streams):
            self.decode([(t, i, sequence, i == len(prompt) - 1) for i, t in enumerate(prompt)])
            last.append(lib.llama_sampler_sample(self.sampler, self.context, -1))
        for step in range(tokens - 1):
            self.decode([(last[s], len(prompt) + step, s, True) for s in range(streams)])
            last = [lib.llama_sampler_sample(self.sampler, self.context, s) for s in range(streams)]
        return time.perf_counter() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    for name, default in (("streams", 1), ("tokens", 128), ("prompt", 32), ("threads", 2), ("repeat", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    asked = parser.parse_args()
    bare = Bare(asked.model, asked.streams, asked.prompt + asked.tokens + 8, asked.threads)
    prompt = [65 + i % 26 for i in range(asked.prompt)]
    bare.run(asked.streams, prompt, 4)
    seconds = [bare.run(asked.streams, prompt, asked.tokens) for _ in range(asked.repeat)]
    print(json.dumps({"seconds": seconds, "tokens": asked.streams * asked.tokens}))


if __name__ == "__main__":
    main()
