"""Settings of models: where they are and come from, and what holds for those whose YAML does not say it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from localai_flask.settings.fields import setting
from localai_flask.settings.galleries import parse_galleries, parse_preloads
from localai_flask.sizes import parse_bytes

AUTOLOADS = ("off", "admin", "all")


def _check_autoload(text: str) -> None:
    if text not in AUTOLOADS:
        raise ValueError(f"write one of {', '.join(AUTOLOADS)}")


@dataclass(frozen=True, kw_only=True, repr=False)
class ModelSettings:
    """Where models come from, and how they are loaded."""

    models_path: Path = setting(
        Path("models"),
        "Folder with model files and their YAML; unset, and without a folder `models` here: "
        "`~/.local/share/localai-flask/models`, if it is there.",
        metavar="DIR",
        needs_restart=True,
    )
    models_config_file: str = setting(
        "",
        "A YAML file outside of that folder with a model, or a list of models, as in the folder's own files.",
        metavar="FILE",
        needs_restart=True,
    )
    backends_path: str = setting(
        "",
        "Folder with the engines that have environments of their own, as `localai-flask backends install` makes them; "
        "unset: `~/.local/share/localai-flask/backends`.",
        metavar="DIR",
        also="BACKENDS_PATH",
        needs_restart=True,
    )
    autoload_backends: bool = setting(
        False,
        "Install the engine that a model needs when it is first loaded, as `localai-flask backends install` does.",
        also="LOCALAI_AUTOLOAD_BACKEND_GALLERIES",
        needs_restart=True,
    )
    offline: bool = setting(False, "Fetch nothing from anywhere: models have to be in the folder already.")
    autoload_models: str = setting(
        "admin",
        "Whose requests may name a model that is elsewhere, as in owner/repo, and so have it fetched: off, admin "
        "(administrators, and everybody if there are no keys) or all.",
        metavar="WHOSE",
        check=_check_autoload,
    )
    fetch_private_addresses: bool = setting(
        False,
        "Let requests and galleries name addresses of this machine and of private networks to fetch models from.",
    )
    galleries: str = setting(
        "",
        'Galleries of models, as in [{"name":"mine","url":"https://example.org/index.yaml"}]; unset: the one that '
        "comes along, and LocalAI's.",
        metavar="JSON",
        check=parse_galleries,
        also="GALLERIES",
        needs_restart=True,
    )
    models: tuple[str, ...] = setting(
        (),
        "Models to install at the start that are not there: names of galleries, addresses, or `owner/repo` of the hub.",
        metavar="NAMES",
        also="MODELS",
        needs_restart=True,
    )
    preload_models: str = setting(
        "",
        'The same with all that /models/apply takes, as in [{"id":"smollm2-135m-instruct","name":"small"}].',
        metavar="JSON",
        check=parse_preloads,
        also="PRELOAD_MODELS",
        needs_restart=True,
    )
    preload_models_config: str = setting(
        "", "YAML file with a list of the same.", metavar="FILE", also="PRELOAD_MODELS_CONFIG", needs_restart=True
    )
    threads: int = setting(
        0, "Compute threads for each model that does not set its own (0: measured at load).", needs_restart=True
    )
    context_size: int = setting(
        0,
        "Context per request, in tokens, for models that do not set their own (0: the model's, at most 8192).",
        minimum=-1,
        needs_restart=True,
    )
    f16: bool = setting(False, "Use 16-bit floats where a model's YAML does not say.", needs_restart=True)
    prompt_cache_size: str = setting(
        "4GB",
        "Disk that each model's idle prompts may take, which outlive the server (0: none are kept there).",
        metavar="SIZE",
        check=parse_bytes,
        needs_restart=True,
    )
    prompt_cache_path: str = setting(
        "",
        "Folder for them, for models whose YAML names none; unset: `~/.cache/localai-flask/prompts`.",
        metavar="DIR",
        needs_restart=True,
    )
    default_model: str = setting("", "Model that serves requests which name none.", metavar="NAME")
    load_to_memory: tuple[str, ...] = setting((), "Models to load at start; /readyz waits for them.", metavar="NAMES")
    llamacpp_parallel: int = setting(
        0,
        "Slots of llama-cpp models that do not set their own (0: by memory, at most 16).",
        env="LLAMACPP_PARALLEL",
        needs_restart=True,
    )
    llamacpp_grpc_servers: tuple[str, ...] = setting(
        (),
        "RPC servers of llama-cpp models that do not name their own.",
        metavar="HOST:PORT,…",
        env="LLAMACPP_GRPC_SERVERS",
        needs_restart=True,
    )
    llama_server: str = setting(
        "", "Program of `backend: llama-server`, llama.cpp's own server.", metavar="FILE", needs_restart=True
    )
    ik_llama_server: str = setting(
        "", "Program of `backend: ik-llama-cpp`, the same of that fork.", metavar="FILE", needs_restart=True
    )
    turboquant_server: str = setting(
        "", "Program of `backend: turboquant`, the same of that fork.", metavar="FILE", needs_restart=True
    )
