"""What each client has to be told of a server: arguments, variables, or a file of its own settings.

Nothing of the user's own configuration is changed. docs/agents.md says which versions were seen to work.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import NamedTuple

NO_KEY = "none"
"""What is sent to a server without keys, as clients insist on one."""


class Server(NamedTuple):
    """The server that a client is to use, and the model there."""

    url: str
    api_key: str
    model: str
    context_length: int | None


class Plan(NamedTuple):
    """How a client is started; `{file}` in arguments and variables stands for the path of the file."""

    command: list[str]
    environment: dict[str, str]
    file_name: str = ""
    file_text: str = ""


class Client(NamedTuple):
    plan: Callable[[Server], Plan]
    install: str


def _claude(server: Server) -> Plan:
    models = ("ANTHROPIC_DEFAULT_OPUS_MODEL", "ANTHROPIC_DEFAULT_SONNET_MODEL", "ANTHROPIC_DEFAULT_HAIKU_MODEL")
    environment = {
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": server.api_key or NO_KEY,
        **dict.fromkeys(models, server.model),
    }
    if server.context_length:  # it takes far more for granted, and would not shorten conversations in time
        environment["CLAUDE_CODE_MAX_CONTEXT_TOKENS"] = str(server.context_length)
    return Plan(["claude", "--model", server.model], environment)


def _codex(server: Server) -> Plan:
    settings: dict[str, str | int] = {
        "model_provider": "local",
        "model_providers.local.name": "local",
        "model_providers.local.base_url": f"{server.url}/v1",
        "model_providers.local.wire_api": "responses",
        "model_providers.local.env_key": "LOCAL_KEY",
    }
    if server.context_length:
        settings["model_context_window"] = server.context_length
    arguments = [part for name, value in settings.items() for part in ("-c", f"{name}={json.dumps(value)}")]
    return Plan(["codex", "-m", server.model, *arguments], {"LOCAL_KEY": server.api_key or NO_KEY})


def _opencode(server: Server) -> Plan:
    model: dict[str, object] = {"name": server.model}
    if server.context_length:
        model["limit"] = {"context": server.context_length, "output": server.context_length // 4}
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "localai-flask",
        "options": {"baseURL": f"{server.url}/v1", "apiKey": server.api_key or NO_KEY},
        "models": {server.model: model},
    }
    settings = {"$schema": "https://opencode.ai/config.json", "provider": {"local": provider}}
    settings["model"] = f"local/{server.model}"
    return Plan(["opencode"], {"OPENCODE_CONFIG": "{file}"}, "opencode.json", _as_json(settings))


def _aider(server: Server) -> Plan:
    environment = {"OPENAI_API_BASE": f"{server.url}/v1", "OPENAI_API_KEY": server.api_key or NO_KEY}
    return Plan(["aider", "--model", f"openai/{server.model}"], environment)


def _continue(server: Server) -> Plan:
    model = {
        "name": server.model,
        "provider": "openai",
        "model": server.model,
        "apiBase": f"{server.url}/v1",
        "apiKey": server.api_key or NO_KEY,
        "roles": ["chat", "edit", "apply"],
    }
    settings = {"name": "localai-flask", "version": "0.0.1", "schema": "v1", "models": [model]}
    return Plan(["cn", "--config", "{file}"], {}, "continue.yaml", _as_json(settings))


def _as_json(value: object) -> str:
    """Write JSON, which is YAML too."""
    return json.dumps(value, indent=2) + "\n"


CLIENTS = {
    "claude": Client(_claude, "npm install -g @anthropic-ai/claude-code"),
    "codex": Client(_codex, "npm install -g @openai/codex"),
    "opencode": Client(_opencode, "npm install -g opencode-ai"),
    "aider": Client(_aider, "pip install aider-chat"),
    "continue": Client(_continue, "npm install -g @continuedev/cli"),
}
