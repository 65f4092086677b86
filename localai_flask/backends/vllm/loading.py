"""From a folder to the library's engine, its tokens, and what the model is."""

from __future__ import annotations

import copy
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import vllm
from vllm.engine.arg_utils import EngineArgs
from vllm.lora.request import LoRARequest
from vllm.platforms import current_platform
from vllm.v1.engine.llm_engine import LLMEngine

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.hugging_face.folder import about, find_folder
from localai_flask.backends.hugging_face.tokens import Tokens
from localai_flask.backends.notes import heed
from localai_flask.backends.vllm import key_checks
from localai_flask.backends.vllm.arguments import make_arguments
from localai_flask.backends.vllm.chosen_rows import RowChooser
from localai_flask.backends.vllm.images import ImagePrompts, sees
from localai_flask.backends.vllm.key_checks import adapters
from localai_flask.config.files.snapshot import read_snapshot
from localai_flask.config.model import EngineConfig
from localai_flask.config.traits import makes_vectors, ranks_documents
from localai_flask.errors import ModelLoadFailed
from localai_flask.generation import ModelInfo

LIBRARY = f"vllm {vllm.__version__}"


@dataclass(frozen=True)
class Loaded:
    engine: LLMEngine
    tokens: Tokens
    info: ModelInfo
    is_here: bool
    """Whether the model runs in this process, so that its logits can be seen."""
    sequences: int
    adapter: LoRARequest | None
    images: ImagePrompts | None
    """There if the model sees."""


def load(config: EngineConfig, progress: LoadProgress) -> Loaded:
    """Start the library's engine; raises `ConfigError` for what YAML and folder do not say rightly."""
    heed(key_checks.check(config), config)
    find_folder(config)
    arguments = make_arguments(config)
    if config.threads and current_platform.is_cpu():
        torch.set_num_threads(config.threads)
    is_here = arguments.tensor_parallel_size * arguments.pipeline_parallel_size == 1
    is_writer = arguments.runner != "pooling"
    if is_here and is_writer and arguments.speculative_config is None:
        arguments.logits_processors = [RowChooser]
        arguments.async_scheduling = False  # the tokens said so far have to be known before the next is chosen
    progress(0.05)
    engine = _open(config, arguments)
    settings = engine.vllm_config
    tokenizer = engine.get_tokenizer()
    if can_see := is_writer and sees(engine):
        tokenizer = copy.deepcopy(tokenizer)  # another thread changes the engine's own
    tokens = Tokens(tokenizer, settings.model_config.get_vocab_size(), _ends(settings.model_config, tokenizer))
    adapter = next((LoRARequest(name, 1, str(Path(config.models_path) / name)) for name in adapters(config)), None)
    sees_logits = bool(arguments.logits_processors)
    able = {*(["end_thinking"] if sees_logits else []), *(["image"] if can_see else [])}
    info = _describe(config, settings, tokenizer, able)
    images = ImagePrompts(engine, tokens, info.chat_template) if can_see else None
    return Loaded(engine, tokens, info, sees_logits, settings.scheduler_config.max_num_seqs, adapter, images)


def _open(config: EngineConfig, arguments: EngineArgs) -> LLMEngine:
    """Start the engine; raise `ModelLoadFailed` if the library has not what its models that see need."""
    try:
        return LLMEngine.from_engine_args(arguments)
    except (ValueError, ImportError) as error:
        if not (read_snapshot(config.model_path).has_vision and importlib.util.find_spec("torchvision") is None):
            raise
        raise ModelLoadFailed(
            f"{about(config)} sees, for which vLLM needs torchvision; install into its environment the one that is "
            "built for the same torch, as docs/vllm.md says."
        ) from error


def _ends(model: Any, tokenizer: Any) -> set[int]:
    """Collect the end-of-sequence ids of the generation config, the model config and the tokenizer."""
    found: set[int] = set()
    generation = model.try_get_generation_config()
    for ids in (generation.get("eos_token_id"), getattr(model.hf_config, "eos_token_id", None), tokenizer.eos_token_id):
        found.update([] if ids is None else [ids] if isinstance(ids, int) else ids)
    return found


def _describe(config: EngineConfig, settings: Any, tokenizer: Any, able: set[str]) -> ModelInfo:
    model = settings.model_config
    templates = tokenizer.chat_template
    named = templates if isinstance(templates, dict) else {"default": templates}
    alone = {"score"} if ranks_documents(config) else {"embed"} if makes_vectors(config) else None
    writes = {"generate", "constrain", *able}
    return ModelInfo(
        backend="vllm",
        engine_version=LIBRARY,
        context_length=model.max_model_len,
        capabilities=frozenset(alone or writes) | {"tokenize"},
        chat_template=named.get("default"),
        tool_template=named.get("tool_use"),
        control_tokens=tuple(each.content for each in tokenizer.added_tokens_decoder.values() if each.special),
        bos_token=tokenizer.bos_token or "",
        eos_token=tokenizer.eos_token or "",
        trained_context=int(getattr(model.hf_text_config, "max_position_embeddings", 0) or 0),
        description=f"{model.hf_config.model_type}, {model.dtype} on {current_platform.device_name}",
    )
