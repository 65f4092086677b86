"""The frozen configuration of one model: LocalAI's YAML keys with their types and defaults.

One struct per YAML block, one line per key: the marshmallow schema that reads YAML is derived from these (schema.py),
and the same structs travel to the pool as msgpack. Where a key is declared says what its change costs: those of
`EngineConfig` load the model anew, all others hold from the next request on.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from localai_flask.config.blocks import (
    DownloadFile,
    Duration,
    Limits,
    ModelFile,
    NotBelowZero,
    NotNegative,
    Parameters,
    Positive,
    ProxyOptions,
    ReasoningOptions,
    Template,
)
from localai_flask.config.functions import FunctionOptions
from localai_flask.generation import Adapter


class EngineConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What decides how a model is loaded, and all that an engine knows of its YAML."""

    name: str
    backend: str = ""
    parameters: ModelFile = ModelFile()
    context_size: Annotated[int, Meta(ge=-1)] | None = None
    threads: NotNegative | None = None
    batch: NotNegative | None = None
    gpu_layers: int | None = None
    f16: bool | None = None
    mmap: bool | None = None
    mmlock: bool = False
    tensor_split: str = ""
    """Shares of the devices, separated by commas or slashes."""
    main_gpu: str = ""
    """The number of a GPU, or what other engines call a device."""
    numa: Annotated[str, Meta(pattern="^(true|false|distribute|isolate|numactl)$")] = ""
    flash_attention: Annotated[str, Meta(pattern="^(true|false|on|off|auto|)$")] = ""
    no_kv_offloading: bool = False
    deterministic: bool = False
    """Whether the same request has the same answer, byte for byte, whatever else is asked for at the same time."""
    cache_type_k: str = ""
    cache_type_v: str = ""
    rope_scaling: Annotated[str, Meta(pattern="^(none|linear|yarn|longrope|)$")] = ""
    rope_freq_base: NotBelowZero | None = None
    rope_freq_scale: NotBelowZero | None = None
    yarn_ext_factor: float | None = None
    yarn_attn_factor: float | None = None
    yarn_beta_fast: float | None = None
    yarn_beta_slow: float | None = None
    yarn_orig_ctx: NotNegative | None = None
    lora_adapter: str = ""
    lora_scale: float | None = None
    lora_adapters: tuple[str, ...] = ()
    lora_scales: tuple[float, ...] = ()
    overrides: tuple[str, ...] = ()
    """Values to read instead of those in the GGUF file, each as `key=type:value`."""
    mmproj: str = ""
    """The file of the projector by which the model sees images; one beside the model's file is found by itself."""
    draft_model: str = ""
    n_draft: NotNegative | None = None
    n_keep: Annotated[int, Meta(ge=-1)] | None = None
    prompt_cache_path: str = ""
    """The folder for prompts that outlive the process, in the models folder."""
    prompt_cache_ro: bool = False
    """Whether nothing is written there."""
    reranking: bool = False
    embeddings: bool = False
    options: tuple[str, ...] = ()
    type: str = ""
    dtype: str = ""
    quantization: str = ""
    """How weights are held in memory, or are stored, by the engine's name for it."""
    load_format: str = ""
    trust_remote_code: bool = False
    """Whether code may run that comes with the model."""
    model_base_name: str = ""
    """Which of a folder's files holds the weights, without its suffix."""
    max_model_len: NotNegative | None = None
    gpu_memory_utilization: Annotated[float, Meta(ge=0, le=1)] | None = None
    """The share of a device's memory for weights and cache."""
    swap_space: NotBelowZero | None = None
    """Gigabytes of main memory, for each device, to which the cache may be moved."""
    enforce_eager: bool = False
    """Whether the model is run operation by operation instead of being compiled."""
    tensor_parallel_size: NotNegative | None = None
    """Over how many devices each layer is split."""
    disable_log_stats: bool = False
    limit_mm_per_prompt: dict[str, NotNegative] = {}
    """How many images and the like a prompt may have, by their kind."""
    engine_args: dict[str, Any] = {}
    """Arguments for the engine's library under its own names."""
    proxy: ProxyOptions = ProxyOptions()
    replicas: Positive = 1
    download_files: tuple[DownloadFile, ...] = ()
    trust_pickles: bool = False
    """Whether files are fetched that may run code when they are read."""
    models_path: str = ""
    """Where relative file names of this config are looked up; filled in by the registry, not a YAML key."""
    file_stamp: str = ""
    """What tells the model's file and adapters from others under their names; filled in by the registry."""

    @property
    def model_path(self) -> Path:
        """The model's file or folder."""
        return Path(self.models_path) / self.parameters.model

    def option(self, *names: str) -> str | None:
        """Look up an entry of `options:` ("name:value"; a bare name means "true") by any of its names."""
        for entry in self.options:
            name, _, value = entry.partition(":")
            if name.strip() in names:
                return value.strip() or "true"
        return None


class ModelConfig(EngineConfig, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """One model as its YAML (or a bare file) describes it; never written to after it is made.

    What stands here holds from the next request on, without a load.
    """

    parameters: Parameters = Parameters()
    description: str = ""
    alias: str = ""
    """Another model's name, of which this one is only a second name."""
    parent: str = ""
    """The model whose weights this one's adapters change, and with whose worker it is served."""
    fallback: tuple[str, ...] = ()
    """Models that answer, the first that can, where this one cannot."""
    template: Template = Template()
    limits: Limits = Limits()
    pinned: bool = False
    """Whether it is never unloaded but on demand."""
    keep_alive: Duration | None = None
    """How many seconds it stays loaded that nobody uses; -1: for ever."""
    concurrency_groups: tuple[str, ...] = ()
    """Models that share one of these are never loaded together."""
    system_prompt: str = ""
    roles: dict[str, str] = {}
    chat_template_kwargs: dict[str, Any] = {}
    reasoning: ReasoningOptions = ReasoningOptions()
    function: FunctionOptions = FunctionOptions()
    reasoning_effort: str = ""
    stopwords: tuple[str, ...] = ()
    cutstrings: tuple[str, ...] = ()
    """Regular expressions; what they match is taken out of an answer."""
    extract_regex: tuple[str, ...] = ()
    """Regular expressions; an answer becomes what they match, if they match anything."""
    trimspace: tuple[str, ...] = ()
    """Beginnings to take off an answer, and white space around it."""
    trimsuffix: tuple[str, ...] = ()
    """Endings to take off an answer, and white space around it."""
    grammar: str = ""
    """GBNF for answers to requests that ask for no form of their own."""
    known_usecases: tuple[str, ...] = ()
    disabled: bool = False
    source: str = ""
    """The YAML file this came from, or the bare model file; filled in by the registry, not a YAML key."""
    variant_of: str = ""
    """The model with whose worker this one is served, as their engines are alike; filled in by the registry."""
    adapted_by: tuple[tuple[str, float], ...] | None = None
    """The adapters of its requests and their scales, where it has a parent; filled in by the registry."""
    known_adapters: tuple[str, ...] = ()
    """The files of all adapters that its worker is known to have; a request may choose among them."""

    @property
    def adapters(self) -> tuple[Adapter, ...] | None:
        """The adapters of requests that choose none; None: those that the model was loaded with."""
        return None if self.adapted_by is None else tuple(Adapter(*each) for each in self.adapted_by)

    @property
    def thinking_budget(self) -> int | None:
        """How many tokens the model may think (-1 and None: no limit), also as LocalAI's options say it."""
        if self.reasoning.budget is not None:
            return self.reasoning.budget
        budget = self.option("reasoning_budget")
        if budget is None and (enabled := self.option("enable_reasoning")) is not None:
            return 0 if enabled.lower() in ("false", "0", "no", "off", "disabled") else -1
        return int(budget) if budget and budget.removeprefix("-").isdecimal() else None

    @property
    def _file(self) -> ModelFile:
        return ModelFile(**{name: getattr(self.parameters, name) for name in ModelFile.__struct_fields__})

    @functools.cached_property
    def engine(self) -> EngineConfig:
        """The part that decides how the model is loaded."""
        part = {name: getattr(self, name) for name in EngineConfig.__struct_fields__}
        part |= {"name": self.variant_of or self.name, "parameters": self._file}
        return EngineConfig(**part)

    @functools.cached_property
    def key(self) -> str:
        """A digest of the engine's part: configs with one key are served by the same workers.

        The name counts only for engines that are loaded from no file, as there is nothing to share.
        """
        engine = msgspec.structs.replace(self.engine, name="") if self.parameters.model else self.engine
        return hashlib.sha256(encode(engine)).hexdigest()[:16]


encode = msgspec.msgpack.Encoder(order="sorted").encode
decode = msgspec.msgpack.Decoder(ModelConfig).decode
