"""Model files broken at random places, and a program that loads each of them in a process of its own.

The same seed makes the same files: flipped and lost bytes, counts that are wrong, and well-formed files whose metadata
and tensors do not go together. Run as a module with a folder, a seed and a count, it prints one JSON line for each
file: its name, how its process ended, and the last that it said.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import struct
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import numpy as np

from tests.support.gguf_encoders import random_bert
from tests.support.gguf_models import TOKENS, random_gemma3, random_llama, random_mamba, write_gguf

SECONDS = 20
"""How long a load with four tokens may take; a good file takes a fraction of one."""
BYTES = 4 << 30
ODD = (
    0,
    1,
    2,
    3,
    7,
    255,
    256,
    1 << 15,
    1 << 20,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    1 << 63,
    (1 << 64) - 1,
)
ARCHITECTURES = (
    *("qwen2", "qwen3", "gemma3", "gemma2", "phi3", "mamba", "rwkv7", "bert", "t5", "gpt2", "falcon", "deepseek2"),
    *("command-r", "granite", "llama4", "gpt-oss", "jamba", "qwen2moe", "starcoder2", "clip", "", "x" * 200),
)


def make_files(folder: Path, seed: int, count: int) -> Iterator[Path]:
    """Write that many files, one at a time."""
    random = Random(seed)
    makers: list[Callable[[Path], Path]] = [random_llama, random_gemma3, random_mamba, random_bert]
    good = [make(folder / f"good{number}.gguf").read_bytes() for number, make in enumerate(makers)]
    for number in range(count):
        path = folder / f"{number}.gguf"
        if random.random() < 0.5:
            path.write_bytes(_broken_bytes(random, random.choice(good)))
        else:
            _write_misfit(random, path)
        yield path


def _broken_bytes(random: Random, good: bytes) -> bytes:
    content = bytearray(good)
    for _ in range(random.choice((1, 1, 2, 4, 16))):
        # What says how large things are stands at the beginning, and behind the vocabulary, with the tensors.
        at = random.choice(
            (random.randrange(4, 1500), random.randrange(4, len(good) // 4), random.randrange(4, len(good)))
        )
        size, value = random.choice((1, 4, 8)), random.choice((*ODD, random.getrandbits(64)))
        content[at : at + size] = struct.pack("<Q", value)[:size]
    if random.random() < 0.2:
        del content[random.randrange(4, len(content)) :]
    if random.random() < 0.1:
        at = random.randrange(4, len(content))
        del content[at : at + random.choice((1, 8, 1000))]
    return bytes(content)


def _write_misfit(random: Random, path: Path) -> None:
    """Write a Llama whose parts are each in order, and do not fit."""
    width, layers, ff = 32, 2, 64
    metadata: dict[str, float] = {
        "embedding_length": width,
        "block_count": layers,
        "feed_forward_length": ff,
        "attention.head_count": 4,
        "attention.head_count_kv": 2,
        "rope.dimension_count": 8,
        "context_length": 128,
        "expert_count": 0,
        "vocab_size": len(TOKENS),
    }
    for key in random.sample(list(metadata), random.choice((0, 1, 1, 2))):
        metadata[key] = random.choice([value for value in ODD if value < 1 << 32])
    if random.random() < 0.2:
        metadata["rope.freq_base"] = random.choice((float("nan"), float("inf"), 0.0, -1.0, 1e-30))
    architecture = random.choice(ARCHITECTURES) if random.random() < 0.3 else "llama"
    write_gguf(path, architecture, metadata, _weights(random, width, layers, ff))


def _weights(random: Random, width: int, layers: int, ff: int) -> Iterator[tuple[str, np.ndarray]]:
    shapes = {"token_embd": (len(TOKENS), width), "output": (len(TOKENS), width), "output_norm": (width,)}
    for block in (f"blk.{layer}" for layer in range(layers)):
        shapes |= {f"{block}.{name}": (width, width) for name in ("attn_q", "attn_output")}
        shapes |= {f"{block}.{name}": (width // 2, width) for name in ("attn_k", "attn_v")}
        shapes |= {f"{block}.ffn_gate": (ff, width), f"{block}.ffn_up": (ff, width), f"{block}.ffn_down": (width, ff)}
        shapes |= {f"{block}.attn_norm": (width,), f"{block}.ffn_norm": (width,)}
    odd = random.choice(list(shapes)) if random.random() < 0.6 else ""
    rng = np.random.default_rng(random.getrandbits(32))
    for name, shape in shapes.items():
        array = rng.standard_normal(shape).astype(np.float32)
        if name == odd:
            match random.randrange(5):
                case 0:
                    continue
                case 1:
                    array = array[: max(1, shape[0] // 2)]
                case 2:
                    array = array.astype(random.choice((np.float16, np.float64, np.int8, np.int32)))
                case 3:
                    array[:] = random.choice((np.nan, np.inf, 1e38))
                case 4:
                    array = array.reshape(-1)
        yield f"{name}.weight", array


def load_all(paths: Iterator[Path]) -> Iterator[dict[str, Any]]:
    """Load every file, each in a process forked from this one, which has imported what that needs."""
    import localai_flask.backends.llama_cpp.engine
    import localai_flask.diagnosis.trial  # noqa: F401

    for path in paths:
        begun = time.monotonic()
        with tempfile.TemporaryFile() as said:
            child = os.fork()
            if child == 0:
                _load(path, said.fileno())
            status = os.waitpid(child, 0)[1]
            said.seek(0)
            last = said.read().decode(errors="replace").strip()[-300:]
        code = os.waitstatus_to_exitcode(status)
        yield {"file": path.name, "code": code, "seconds": round(time.monotonic() - begun, 2), "said": last}


def _load(path: Path, output: int) -> None:
    """Load and decode; end with 0, with 1 and a sentence, with 2 and what else was raised, or by a signal."""
    os.dup2(output, 1)
    os.dup2(output, 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (BYTES, BYTES))
    signal.alarm(SECONDS)
    from localai_flask.diagnosis.trial import decode
    from localai_flask.errors import ApiError

    try:
        decode(path, is_cautious=False)
    except (ApiError, MemoryError) as error:
        print(error, flush=True)
        os._exit(1)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", flush=True)
        os._exit(2)
    os._exit(0)


if __name__ == "__main__":
    for told in load_all(make_files(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))):
        print(json.dumps(told), flush=True)
