"""From a folder to a model that generates.

Every refusal is one sentence that names the cause and what to do; knows no request.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.hugging_face.tokens import Tokens
from localai_flask.backends.torch_devices import choose_device
from localai_flask.backends.transformers.loading.cache_size import CacheSize, trained_context
from localai_flask.backends.transformers.loading.failures import LIBRARY, load_failure
from localai_flask.backends.transformers.loading.folder import check_config, check_folder, prepare, read_tokenizer
from localai_flask.backends.transformers.loading.model_types import DECODERS, class_of_writer, is_seeing_class
from localai_flask.backends.transformers.loading.weights import read_weights
from localai_flask.config.engines.facts import WRITES
from localai_flask.config.files.bounded import read_json
from localai_flask.config.model import EngineConfig
from localai_flask.generation import ModelInfo

if TYPE_CHECKING:
    from localai_flask.backends.transformers.images.reader import ImageReader


@dataclass(frozen=True)
class LoadedModel:
    model: Any
    tokens: Tokens
    template: Any
    """The chat template, or several by their names."""
    reader: ImageReader | None = None
    """There if the model sees."""


def load_model(config: EngineConfig, progress: LoadProgress) -> LoadedModel:
    """Read everything that the folder holds.

    Raises `ConfigError` if YAML and folder do not fit together, `ModelLoadFailed` if the library cannot use the folder.
    """
    check_config(config)
    device = choose_device(config)
    folder = check_folder(config)
    described = read_json(folder / "config.json")
    kind = class_of_writer(config, described)
    prepare(config, folder, progress)
    tokenizer = read_tokenizer(config, folder)
    model = read_weights(config, folder, device, kind)
    progress(0.95)
    size = model.get_input_embeddings().num_embeddings
    tokens = Tokens(tokenizer, size, end_tokens(model, tokenizer))
    if config.type == DECODERS or not is_seeing_class(kind):
        return LoadedModel(model, tokens, tokenizer.chat_template)
    try:
        from localai_flask.backends.transformers.images.opening import open_reader
    except ImportError as error:  # environments that were installed before models saw have no pillow
        raise load_failure(config, "cannot see images", error) from error
    processor, reader = open_reader(config, folder, model, tokens)
    return LoadedModel(model, tokens, tokenizer.chat_template or getattr(processor, "chat_template", None), reader)


def end_tokens(model: Any, tokenizer: Any) -> set[int]:
    """Collect the end-of-sequence ids of the generation config, the model config and the tokenizer."""
    found: set[int] = set()
    configs = (model.generation_config, model.config, model.config.get_text_config(), tokenizer)
    for ids in (getattr(each, "eos_token_id", None) for each in configs):
        found.update([] if ids is None else [ids] if isinstance(ids, int) else ids)
    return found


def describe(loaded: LoadedModel, cache: CacheSize) -> ModelInfo:
    model, tokenizer = loaded.model, loaded.tokens.tokenizer
    named = loaded.template if isinstance(loaded.template, dict) else {"default": loaded.template}
    weights = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers()])
    return ModelInfo(
        backend="transformers",
        engine_version=LIBRARY,
        context_length=cache.context_length,
        capabilities=WRITES | {"tokenize", *(["image"] if loaded.reader is not None else [])},
        chat_template=named.get("default"),
        tool_template=named.get("tool_use"),
        control_tokens=tuple(each.content for each in tokenizer.added_tokens_decoder.values() if each.special),
        bos_token=tokenizer.bos_token or "",
        eos_token=tokenizer.eos_token or "",
        trained_context=trained_context(model),
        memory_bytes=weights + cache.bytes,
        gpu_bytes=0 if model.device.type == "cpu" else weights + cache.bytes,
        description=describe_model(model) + ("" if cache.blocks else ", requests take turns"),
    )


def describe_model(model: Any) -> str:
    where = "" if model.device.type == "cpu" else f" on {model.device}"
    return f"{model.config.model_type}, {model.num_parameters() / 1e6:.1f} M parameters, {model.dtype}{where}"
