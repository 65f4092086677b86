"""Stands in for exllamav2 and exllamav3, which import only where there is CUDA: the shapes of what our engine calls.

The generators read a prompt in pieces, and ask the filter or the sampler for each token as the real ones do; the logits
prefer the token behind the last one. `tests.unit.test_exllama` holds the names to the packages' sources.
"""

from __future__ import annotations

import sys
import types
from dataclasses import dataclass
from typing import Any

import torch

PAGE = 256
LOADED: list[dict[str, Any]] = []
"""What models, caches and generators were made with."""


class Recorder:
    """Anything that is made with arguments, which are remembered."""

    max_seq_len = 0
    max_input_len = 0

    def __init__(self, *arguments: Any, **named: Any):
        self.arguments, self.named = arguments, named
        LOADED.append({"class": type(self).__name__, **named})

    def load(self, *arguments: Any, callback: Any = None, **named: Any) -> None:
        LOADED.append({"class": "load", "split": arguments, **named})
        callback(1, 2)

    load_autosplit = load

    def unload(self) -> None:
        LOADED.append({"class": "unload"})

    @classmethod
    def from_directory(cls, folder: str) -> Any:
        return cls(folder)

    @classmethod
    def from_config(cls, config: Any) -> Any:
        return cls(config)


class Job:
    """A sequence; `filters` and `sampler` are what chooses its tokens in the second and the third version."""

    def __init__(self, input_ids: torch.Tensor, max_new_tokens: int, identifier: Any = None, **named: Any):
        assert input_ids.shape[0] == 1 and input_ids.device.type == "cpu"
        self.ids, self.identifier, self.named = input_ids[0].tolist(), identifier, named
        self.limit, self.made = max_new_tokens, 0
        self.read = 0
        self.is_finished = False
        self.cached_pages, self.cached_tokens = 0, 3

    def choose(self, logits: torch.Tensor) -> int:
        for each in self.named.get("filters", ()):
            assert each.can_mask_logits() and each.prepare_logit_mask() is True
            logits = each.mask_logits(logits[0][0]).view(1, 1, -1)
            if self.made == 0:
                each.begin("")
        if "sampler" in self.named:
            chosen = self.named["sampler"].forward(logits, None, 7, None, logit_mask=None)
            assert chosen.shape == (1, 1)
            return int(chosen.item())
        token = int(logits.argmax())
        for each in self.named.get("filters", ()):
            each.feed(torch.tensor([[token]]))
        return token


class Generator(Recorder):
    """Runs at most `max_batch_size` jobs; each call reads one piece of one prompt, and writes one token of the rest."""

    size = 0
    piece = 8

    def __init__(self, *arguments: Any, **named: Any):
        super().__init__(*arguments, **named)
        if named.get("paged") and self.no_pages:
            raise AssertionError("Paged attention required Flash Attention 2.5.7 or later")
        self.jobs: list[Job] = []

    no_pages = False

    def enqueue(self, job: Job) -> int:
        self.jobs.append(job)
        return len(self.jobs)

    def cancel(self, job: Job) -> None:
        self.jobs.remove(job)

    def iterate(self) -> list[dict[str, Any]]:
        results: list[dict[str, Any]] = []
        for job in [*self.jobs]:
            about = {"job": job, "identifier": job.identifier, "serial": 1}
            if "break" in job.named.get("stop_conditions", ()) or job.ids[0] == self.size - 1:
                self.jobs.remove(job)
                results.append({**about, "stage": "error", "eos": True, "error": RuntimeError("a kernel failed")})
            elif job.read == 0:
                results.append({**about, "stage": "started", "eos": False})
                job.read = min(self.piece, len(job.ids))
                results.append(about | {"stage": "prefill", "eos": False, "curr_progress": job.read})
            elif job.read < len(job.ids):
                job.read = min(job.read + self.piece, len(job.ids))
                results.append(about | {"stage": "prefill", "eos": False, "curr_progress": job.read})
            else:
                results.append(self._write(job, about))
        return results

    def _write(self, job: Job, about: dict[str, Any]) -> dict[str, Any]:
        logits = torch.zeros(1, 1, self.size + 5)
        logits[0, 0, self.size :] = 99.0  # what pads a vocabulary may come out as anything
        logits[0, 0, (job.ids[-1] + 1) % self.size] = 9.0
        token = job.choose(logits)
        job.ids.append(token)
        job.made += 1
        job.read += 1
        ended = token in job.named.get("stop_conditions", ()) or job.made >= job.limit
        if ended:
            job.is_finished = True
            self.jobs.remove(job)
        # Text of a half character is held by the library, tokens and all.
        return {**about, "stage": "streaming", "eos": ended, "text": ""}


@dataclass
class Greedy:
    """The second version's settings, by its own name."""

    @staticmethod
    def greedy() -> Greedy:
        return Greedy()


def modules() -> dict[str, types.ModuleType]:
    """Return the modules by name, with fresh classes of the names that the packages have."""

    def kind(name: str, base: type = Recorder) -> type:
        return type(name, (base,), {})

    def module(name: str, **contents: Any) -> types.ModuleType:
        made = types.ModuleType(name)
        made.__dict__.update(contents)
        return made

    class Filter:
        def __init__(self, model: Any, tokenizer: Any):
            self.background_result = None

    class Sampler:
        def __init__(self) -> None:
            self.reqs_past_ids = self.reqs_torch_seed = False

    caches = ("ExLlamaV2Cache", "ExLlamaV2Cache_Q4", "ExLlamaV2Cache_Q6", "ExLlamaV2Cache_Q8")
    second = {name: kind(name) for name in ("ExLlamaV2", *caches, "ExLlamaV2Config", "ExLlamaV2Tokenizer")}
    generators = {
        "ExLlamaV2DynamicGenerator": kind("ExLlamaV2DynamicGenerator", Generator),
        "ExLlamaV2DynamicJob": kind("ExLlamaV2DynamicJob", Job),
        "ExLlamaV2Sampler": module("ExLlamaV2Sampler", Settings=Greedy),
    }
    names = ("Cache", "CacheLayer_fp16", "CacheLayer_quant", "Config", "Model", "Tokenizer")
    third = {name: kind(name) for name in names} | {"Generator": kind("Generator", Generator), "Job": kind("Job", Job)}
    return {
        "exllamav2": module("exllamav2", **second),
        "exllamav2.generator": module("exllamav2.generator", **generators),
        "exllamav2.generator.filters": module("exllamav2.generator.filters", ExLlamaV2Filter=Filter),
        "exllamav2.version": module("exllamav2.version", __version__="0.3.2"),
        "exllamav3": module("exllamav3", **third),
        "exllamav3.generator": module("exllamav3.generator"),
        "exllamav3.generator.sampler": module("exllamav3.generator.sampler", Sampler=Sampler),
        "exllamav3.version": module("exllamav3.version", __version__="1.6.5"),
    }


def forget() -> None:
    """Have our modules imported anew, upon the libraries that are there then."""
    LOADED.clear()
    for name in ("v2", "v3"):
        sys.modules.pop(f"localai_flask.backends.exllama.{name}", None)
