"""Server-wide settings: flag, environment variable, type, default and help of each, declared once.

The `localai-flask` command makes its options from this list, gunicorn.conf.py and the processes behind it read the same
values back from the environment, and the docs page is printed from it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from localai_flask.address import OLLAMA_PORT, Address, check_network
from localai_flask.settings.fields import env_name, parse, read, render, setting
from localai_flask.settings.galleries import parse_galleries, parse_preloads
from localai_flask.sizes import check_budget, parse_bytes
from localai_flask.user_folders import data_folder

LEVELS = ("error", "warning", "info", "debug")
ACCESS_LOGS = ("plain", "json", "off")
AUTOLOADS = ("off", "admin", "all")
HIDDEN = "…"


def _check_level(text: str) -> None:
    if text.lower() not in LEVELS:
        raise ValueError(f"write one of {', '.join(LEVELS)}")


def _check_access_log(text: str) -> None:
    if text not in ACCESS_LOGS:
        raise ValueError(f"write one of {', '.join(ACCESS_LOGS)}")


def _check_autoload(text: str) -> None:
    if text not in AUTOLOADS:
        raise ValueError(f"write one of {', '.join(AUTOLOADS)}")


@dataclass(frozen=True, kw_only=True, repr=False)
class Settings:
    """Everything that is configured for the whole server rather than for one model."""

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
    config_dir: str = setting(
        "",
        "Folder with LocalAI's `api_keys.json`, a list of keys, for servers that have no other file of keys.",
        metavar="DIR",
    )
    settings_file: str = setting(
        "",
        "File with settings as `NAME=value` lines, for those that neither a flag nor a variable sets; read again when "
        "it changes and on SIGHUP. With a `-` before its name it need not be there.",
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
    address: str = setting(
        "127.0.0.1:8080",
        "Where to listen; `:8080` means every interface, `unix:/path` a Unix socket.",
        metavar="HOST:PORT",
        check=Address.parse,
        needs_restart=True,
    )
    ollama: bool = setting(
        False,
        "Listen on port 11434 too, where clients of Ollama look for it, on the same host (127.0.0.1 beside a socket).",
        needs_restart=True,
    )
    api_key: tuple[str, ...] = setting(
        (), "Keys that clients may send, separated by commas.", metavar="KEY", secret=True
    )
    api_keys_file: str = setting(
        "", "File of named keys, made by `localai-flask keys add`; a change counts at once.", metavar="FILE"
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
        "Slots of llama-cpp models that do not set their own (0: by memory, at most 4).",
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
    workers: int = setting(2, "Web worker processes.", minimum=1)
    http_threads: int = setting(256, "Requests that each web worker serves at once; more are answered 503.", minimum=1)
    upload_limit: int = setting(15, "Largest request body, in MB.")
    files_size: int = setting(2048, "Space that files and batches may take together, in MB (0: any).")
    file_limit: int = setting(200, "Largest file that is uploaded, in MB.", minimum=1)
    document_pages: int = setting(1000, "Pages that a PDF in a request may have.", minimum=1)
    document_text: int = setting(
        2_000_000, "Characters of text that the documents of a request may have together.", minimum=1
    )
    document_timeout: int = setting(20, "Seconds that a PDF may take to read.", minimum=1)
    client_timeout: float = setting(
        30.0,
        "Seconds that a client may take to send a request, or to take a piece of its answer.",
        minimum=1,
    )
    graceful_timeout: int = setting(
        30, "Seconds that running streams get to end when the server stops.", needs_restart=True
    )
    queue_size: int = setting(
        512, "Requests that may wait for one model, beside those that run; more are answered 503."
    )
    request_timeout: float = setting(0.0, "Seconds after which a request is given up (0: never).")
    max_active_backends: int = setting(
        0, "Models that may be loaded at once; the least recently used leaves for another (0: no limit)."
    )
    single_active_backend: bool = setting(False, "LocalAI's older word for a `max-active-backends` of 1.")
    memory_budget: str = setting(
        "",
        "Memory that all models may take together, as in 12GB or 80% (0: no limit; unset: what there is, less a tenth, "
        "and no limit where there is a GPU).",
        metavar="SIZE",
        check=check_budget,
    )
    force_eviction_when_busy: bool = setting(
        False, "Let a busy model leave at once for another, and its requests end after the graceful timeout."
    )
    lru_eviction_max_retries: int = setting(
        30, "How many retry intervals a model waits for busy ones, before one of them takes no more requests."
    )
    lru_eviction_retry_interval: float = setting(1.0, "Seconds of one such interval.")
    watchdog_idle: bool = setting(False, "Unload models that nobody uses.")
    watchdog_idle_timeout: float = setting(900.0, "Seconds without a request after which such a model is unloaded.")
    watchdog_busy: bool = setting(False, "Replace workers whose requests bring forth nothing.")
    watchdog_busy_timeout: float = setting(300.0, "Seconds without a token after which such a worker is replaced.")
    model_load_failure_cooldown: float = setting(10.0, "Seconds before a model that failed to load is tried again.")
    load_stall_timeout: float = setting(120.0, "Seconds without progress after which a loading model is given up.")
    engine_stall_timeout: float = setting(
        300.0, "Seconds that one step of an engine may last, after which its worker is replaced."
    )
    worker_silence_timeout: float = setting(10.0, "Seconds without a heartbeat after which a model worker is replaced.")
    allowed_hosts: tuple[str, ...] = setting(
        (),
        "Names by which clients may call this server, beside addresses and private names; `.example.org` is all below.",
        metavar="NAMES",
    )
    trusted_proxies: tuple[str, ...] = setting(
        ("127.0.0.1", "::1"),
        "Addresses and networks of proxies whose `X-Forwarded-…` headers count; `*`: all. A Unix socket's do anyway.",
        metavar="NETWORKS",
        check=check_network,
    )
    cors: bool = setting(False, "Let web pages of any origin call the API, or of those that the next setting names.")
    cors_allow_origins: tuple[str, ...] = setting(
        (), "Origins whose web pages may call the API, as in https://chat.example.org; `*`: all.", metavar="ORIGINS"
    )
    allow_insecure_public_bind: bool = setting(
        False, "Listen on a public address although no API key is set.", needs_restart=True
    )
    database_url: str = setting(
        "",
        "Database for stored responses, as in postgresql://user:password@host/name; unset: a SQLite file of this user.",
        metavar="URL",
        secret=True,
        needs_restart=True,
    )
    open_responses_store_ttl: float = setting(0.0, "Seconds after which an unused response is deleted (0: never).")
    open_responses_store_size: int = setting(
        1024, "MB that stored responses may take together; the longest unused are deleted (0: no bound)."
    )
    stream_ttl: int = setting(
        300, "Seconds that a chat stream with X-Conversation-Id can be read again after its end.", minimum=1
    )
    log_prompts: bool = setting(
        False,
        "Log what models are asked, and messages of failures that may have parts of it; for finding faults.",
        needs_restart=True,
    )
    access_log: str = setting(
        "plain",
        "One line for each request on standard output: plain, json or off.",
        metavar="FORM",
        check=_check_access_log,
    )
    disable_metrics_endpoint: bool = setting(False, "Answer nothing at /metrics.")
    disable_webui: bool = setting(False, "Serve no page to browsers at `/`.")
    log_level: str = setting("info", "error, warning, info or debug.", metavar="LEVEL", check=_check_level)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Read every setting from its variable, an empty one as if it were not set.

        Raises `ValueError` naming a variable that does not parse.
        """
        values = {}
        for field in dataclasses.fields(cls):
            if text := read(field, environment):
                values[field.name] = parse(field, text)
        return cls(**values)

    def to_environment(self) -> dict[str, str]:
        """Render every setting as its variable, defaults too, so that they replace what an environment has."""
        return {env_name(field): render(getattr(self, field.name)) for field in dataclasses.fields(self)}

    def __repr__(self) -> str:
        changed = ((f, getattr(self, f.name)) for f in dataclasses.fields(self))
        shown = (f"{f.name}={HIDDEN if f.metadata['secret'] else repr(v)}" for f, v in changed if v != f.default)
        return f"Settings({', '.join(shown)})"

    @property
    def keys_file(self) -> Path | None:
        """The file of keys: the one that is named, else LocalAI's in the folder of configuration, if it is there."""
        if self.api_keys_file:
            return Path(self.api_keys_file)
        file = Path(self.config_dir) / "api_keys.json" if self.config_dir else None
        return file if file and file.exists() else None

    @property
    def backends_folder(self) -> Path:
        """The folder of environments: the one that is named, else this user's own."""
        return (Path(self.backends_path) if self.backends_path else data_folder() / "backends").absolute()

    @property
    def listening(self) -> Address:
        """The address to listen on."""
        return Address.parse(self.address)

    @property
    def addresses(self) -> list[Address]:
        """All addresses to listen on, the one that was named first."""
        named = self.listening
        second = Address(host=named.host if not named.path else "127.0.0.1", port=OLLAMA_PORT)
        return [named, second] if self.ollama and second != named else [named]
