"""From a model's YAML to the flags of a program.

A program's own help decides which of them it has; nothing here knows which fork it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from localai_flask.backends.llama_server.options import BY_OPTION, OF_ITSELF, PASSED_OVER, SWITCHES, VALUES
from localai_flask.backends.llama_server.programs import Abilities
from localai_flask.backends.notes import NO_EFFECT, Note, unknown_option
from localai_flask.config import traits
from localai_flask.config.model import EngineConfig
from localai_flask.settings import Settings

SLOTS = 4
"""How many requests run at once where nothing says."""
MOST_SLOTS = 256
ON = ("true", "1", "yes", "on", "enabled")
OFF = ("false", "0", "no", "off", "disabled")
TURBO = ("turbo2", "turbo3", "turbo4")
"""Types of a cache that are read by flash attention alone."""
KEYS = {
    "batch": "--batch-size",
    "gpu_layers": "--n-gpu-layers",
    "tensor_split": "--tensor-split",
    "main_gpu": "--main-gpu",
    "cache_type_k": "--cache-type-k",
    "cache_type_v": "--cache-type-v",
    "rope_scaling": "--rope-scaling",
    "rope_freq_base": "--rope-freq-base",
    "rope_freq_scale": "--rope-freq-scale",
    "yarn_ext_factor": "--yarn-ext-factor",
    "yarn_attn_factor": "--yarn-attn-factor",
    "yarn_beta_fast": "--yarn-beta-fast",
    "yarn_beta_slow": "--yarn-beta-slow",
    "yarn_orig_ctx": "--yarn-orig-ctx",
    "n_keep": "--keep",
}
"""Keys whose value stands behind a flag as it is."""
READ = frozenset(KEYS) | {
    *("context_size", "threads", "f16", "mmap", "mmlock", "numa", "flash_attention", "no_kv_offloading"),
    *("lora_adapter", "lora_scale", "lora_adapters", "lora_scales", "overrides", "draft_model", "n_draft"),
    *("reranking", "embeddings", "mmproj", "limit_mm_per_prompt"),
}


@dataclass
class Flags:
    """Arguments for a program, and what is to be said of the YAML that they come from."""

    arguments: list[str]
    notes: list[Note]


def check_entries(config: EngineConfig) -> Iterator[Note]:
    """Find what is wrong with a config, whatever the program is."""
    for index, entry in enumerate(config.options):
        name, _, value = (part.strip() for part in entry.partition(":"))
        name, path = _plain(name), ("options", index)
        flag = BY_OPTION.get(name)
        if flag is None and name not in (*OF_ITSELF, *PASSED_OVER):
            yield Note(path, unknown_option(name, BY_OPTION, config.backend))
        elif flag in SWITCHES and (value or "true").lower() not in ON + OFF:
            yield Note(path, f"the option {entry} is neither true nor false; {NO_EFFECT}")
        elif flag in VALUES and not value:
            yield Note(path, f"the option {name} needs a value, as in `{name}:1`; {NO_EFFECT}")
        elif name in OF_ITSELF and not (value.isdecimal() and 0 < int(value) <= MOST_SLOTS):
            yield Note(path, f"the option {entry} is no number from 1 to {MOST_SLOTS}", is_fault=True)
    if _uses_turbo(config) and config.flash_attention in ("false", "off"):
        said = "a cache of the type turbo2, turbo3 or turbo4 is read by flash attention alone; remove `flash_attention`"
        yield Note(("flash_attention",), said, is_fault=True)
    if len(config.lora_scales) > len(config.lora_adapters):
        yield Note(("lora_scales",), "`lora_scales` has more entries than `lora_adapters`; remove some", is_fault=True)


def make_flags(config: EngineConfig, able: Abilities, settings: Settings) -> Flags:
    """Translate a config for a program with these abilities; a fault among the notes means that it cannot be used."""
    made = Flags(["--model", str(config.model_path)], [])
    slots, context = slots_of(config), context_of(config, settings)
    made.arguments += ["--ctx-size", str(slots * context), "--parallel", str(slots)]
    threads = config.threads or settings.threads
    made.arguments += ["--threads", str(threads)] if threads else []
    for key, flag in KEYS.items():
        value = getattr(config, key)
        if value not in (None, ""):
            _add(made, able, flag, str(value), (key,), is_needed=key.startswith(("rope", "yarn", "cache_type")))
    _add_precision(made, config, able)
    _add_memory(made, config, able)
    _add_adapters(made, config, able)
    _add_draft(made, config, able)
    if "image" in traits.capabilities(config):
        _add(made, able, "--mmproj", str(Path(config.models_path) / config.mmproj), ("mmproj",), is_needed=True)
    _add_kind(made, config, context)
    _add_options(made, config, able)
    if "--no-context-shift" in able.flags and "--context-shift" not in made.arguments:
        made.arguments.append("--no-context-shift")  # a prompt that does not fit is refused, not cut
    return made


def slots_of(config: EngineConfig) -> int:
    """Return how many requests run at once."""
    return int(_option(config, *OF_ITSELF) or SLOTS)


def context_of(config: EngineConfig, settings: Settings) -> int:
    """Return how many tokens each request may have."""
    wanted = config.context_size or settings.context_size or None
    header = traits.read_header(config.model_path)
    length = traits.choose_context(wanted, header.trained_context if header else 0)
    return min(length, header.trained_context or length) if header and header.is_encoder else length


def _uses_turbo(config: EngineConfig) -> bool:
    return config.cache_type_k.startswith(TURBO) or config.cache_type_v.startswith(TURBO)


def _option(config: EngineConfig, *names: str) -> str | None:
    """Look up an entry of `options:` by any of its names, which may be written as flags are."""
    for entry in config.options:
        name, _, value = (part.strip() for part in entry.partition(":"))
        if _plain(name) in names:
            return value
    return None


def _plain(option: str) -> str:
    return option.lstrip("-").replace("-", "_")


def _add(
    made: Flags, able: Abilities, flag: str, value: str | None, path: tuple[str | int, ...], *, is_needed: bool = False
) -> None:
    """Add a flag that the program has with a value that it takes, or a note."""
    choices = able.choices.get(flag, frozenset())
    if flag not in able.flags:
        said = f"the program has no flag {flag}, which `{path[0]}` needs"
        made.notes.append(Note(path, said if is_needed else f"{said}; {NO_EFFECT}", is_fault=is_needed))
    elif value is not None and choices and value not in choices:
        made.notes.append(Note(path, f"`{path[0]}: {value}` is none of: {', '.join(sorted(choices))}", is_fault=True))
    else:
        made.arguments += [flag] if value is None else [flag, value]


def _add_precision(made: Flags, config: EngineConfig, able: Abilities) -> None:
    for key in ("cache_type_k", "cache_type_v"):
        if config.f16 is False and not getattr(config, key):
            _add(made, able, KEYS[key], "f32", ("f16",))
    wanted = {"true": "on", "false": "off"}.get(config.flash_attention, config.flash_attention)
    if wanted or _uses_turbo(config):
        _add(made, able, "--flash-attn", wanted or "on", ("flash_attention",))


def _add_memory(made: Flags, config: EngineConfig, able: Abilities) -> None:
    """Choose how the weights are loaded; the newest programs have one flag for what were two."""
    if config.mmap is not None or config.mmlock:
        mapped = config.mmap is not False
        if "--load-mode" in able.flags:
            mode = ("mmap+mlock" if mapped else "mlock") if config.mmlock else "mmap" if mapped else "none"
            made.arguments += ["--load-mode", mode]
        else:
            made.arguments += ["--mlock"] * config.mmlock + ["--no-mmap"] * (not mapped)
    if config.numa not in ("", "false"):
        _add(made, able, "--numa", "distribute" if config.numa == "true" else config.numa, ("numa",))
    if config.no_kv_offloading:
        _add(made, able, "--no-kv-offload", None, ("no_kv_offloading",))


def _add_adapters(made: Flags, config: EngineConfig, able: Abilities) -> None:
    folder = Path(config.models_path)
    pairs = [(config.lora_adapter, config.lora_scale)] if config.lora_adapter else []
    pairs += zip_longest(config.lora_adapters, config.lora_scales)
    for file, scale in pairs:
        if scale is None or scale == 1:
            _add(made, able, "--lora", str(folder / file), ("lora_adapter",), is_needed=True)
        elif "--lora-scaled" in able.flags and able.joins_scales:
            made.arguments += ["--lora-scaled", f"{folder / file}:{scale}"]
        else:
            _add(made, able, "--lora-scaled", str(folder / file), ("lora_scale",), is_needed=True)
            made.arguments.append(str(scale))
    for override in config.overrides:
        _add(made, able, "--override-kv", override, ("overrides",), is_needed=True)


def _add_draft(made: Flags, config: EngineConfig, able: Abilities) -> None:
    if not config.draft_model:
        return
    _add(made, able, "--model-draft", str(Path(config.models_path) / config.draft_model), ("draft_model",))
    if config.n_draft:
        flag = "--spec-draft-n-max" if "--spec-draft-n-max" in able.flags else "--draft-max"
        _add(made, able, flag, str(config.n_draft), ("n_draft",))


def _add_kind(made: Flags, config: EngineConfig, context: int) -> None:
    """Have the program make vectors, or score documents, if that is what the model is for."""
    able, header = traits.capabilities(config), traits.read_header(config.model_path)
    if not able & {"score", "embed"}:
        return
    made.arguments.append("--reranking" if "score" in able else "--embedding")
    if "embed" in able and _option(config, "pooling_type", "pooling") is None and not (header and header.pooling_type):
        made.arguments += ["--pooling", "mean"]
    if config.batch is None and _option(config, "n_ubatch", "ubatch", "ubatch_size") is None:
        made.arguments += ["--batch-size", str(context), "--ubatch-size", str(context)]  # one text is one batch


def _add_options(made: Flags, config: EngineConfig, able: Abilities) -> None:
    for index, entry in enumerate(config.options):
        name, _, value = (part.strip() for part in entry.partition(":"))
        flag, path = BY_OPTION.get(_plain(name)), ("options", index)
        if flag in VALUES and value:
            _add(made, able, _own_word(flag, able), value, path)
        elif flag in SWITCHES and (value or "true").lower() in ON + OFF:
            _switch(made, able, flag, (value or "true").lower() in ON, path)


def _own_word(flag: str, able: Abilities) -> str:
    """Return the newer name of a flag that some programs have renamed."""
    newer = f"--spec-{flag.removeprefix('--')}"
    return newer if flag not in able.flags and newer in able.flags else flag


def _switch(made: Flags, able: Abilities, flag: str, is_on: bool, path: tuple[str | int, ...]) -> None:
    opposite = f"--no-{flag.removeprefix('--')}"
    if flag == "--fit" and flag in able.flags:
        made.arguments += [flag, "on" if is_on else "off"]
    elif is_on and (flag in able.flags or opposite not in able.flags):
        _add(made, able, flag, None, path)
    elif not is_on and opposite in able.flags:
        made.arguments.append(opposite)
