"""The environments that can be installed, and the model with which each is tried."""

from __future__ import annotations

from typing import NamedTuple

_SAMPLES = "localai_flask.backends.environments.samples"


class Kind(NamedTuple):
    """The engine that an environment is for, and the module that makes a tiny model for it (samples/__init__.py).

    Where it is a program, `program` is the variable that names one to the engine.
    """

    engine: str
    sample: str
    program: str = ""


KINDS = {
    "gptq": Kind("gptq", f"{_SAMPLES}.gptq_folder"),
    "openvino": Kind("openvino", f"{_SAMPLES}.llama_folder"),
    "transformers": Kind("transformers", f"{_SAMPLES}.llama_folder"),
    "vllm": Kind("vllm", f"{_SAMPLES}.llama_folder"),
    "exllama2": Kind("exllama2", f"{_SAMPLES}.llama_folder"),
    "exllama3": Kind("exllama3", f"{_SAMPLES}.llama_folder"),
    "rwkv": Kind("rwkv", f"{_SAMPLES}.rwkv_checkpoint"),
    "llama-server": Kind("llama-server", f"{_SAMPLES}.gguf_file", "LOCALAI_LLAMA_SERVER"),
    "ik-llama-cpp": Kind("ik-llama-cpp", f"{_SAMPLES}.gguf_file", "LOCALAI_IK_LLAMA_SERVER"),
    "turboquant": Kind("turboquant", f"{_SAMPLES}.gguf_file", "LOCALAI_TURBOQUANT_SERVER"),
}
