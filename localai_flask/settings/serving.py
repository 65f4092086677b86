"""Settings of serving: where it listens, who may ask, what a request may be, what is stored and logged."""

from __future__ import annotations

from dataclasses import dataclass

from localai_flask.address import Address, check_network
from localai_flask.settings.fields import setting

LEVELS = ("error", "warning", "info", "debug")
ACCESS_LOGS = ("plain", "json", "off")


def _check_level(text: str) -> None:
    if text.lower() not in LEVELS:
        raise ValueError(f"write one of {', '.join(LEVELS)}")


def _check_access_log(text: str) -> None:
    if text not in ACCESS_LOGS:
        raise ValueError(f"write one of {', '.join(ACCESS_LOGS)}")


@dataclass(frozen=True, kw_only=True, repr=False)
class ServingSettings:
    """How requests are taken, and what is kept of them."""

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
    workers: int = setting(2, "Web worker processes.", minimum=1)
    http_threads: int = setting(256, "Requests that each web worker serves at once; more are answered 503.", minimum=1)
    upload_limit: int = setting(15, "Largest request body, in MB.")
    files_size: int = setting(2048, "Space that files and batches may take together, in MB (0: any).")
    file_limit: int = setting(200, "Largest file that is uploaded, in MB.", minimum=1)
    document_pages: int = setting(1000, "Pages that a PDF in a request may have.", minimum=1)
    document_text: int = setting(
        2_000_000, "Characters of text that the documents of a request may have together.", minimum=1
    )
    document_timeout: int = setting(20, "Seconds that a PDF may take to read, and as many to draw.", minimum=1)
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
    stream_interval: float = setting(
        0.01,
        "Seconds from one piece of a stream to the next at least, 1 at most; faster ones go together (0: each alone).",
        maximum=1,
    )
    request_timeout: float = setting(0.0, "Seconds after which a request is given up (0: never).")
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
