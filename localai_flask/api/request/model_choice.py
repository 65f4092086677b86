"""Which model a request means: named in its body, its path, its query or its bearer token, or else the default one."""

from __future__ import annotations

from typing import NamedTuple

from flask import has_request_context, request

from localai_flask.api import current
from localai_flask.api.door import auth
from localai_flask.api.request.automatic_setup import set_up
from localai_flask.api.work import fallback
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ModelNotFound


class Chosen(NamedTuple):
    """A model under the name by which it was asked for, which may be an alias."""

    name: str
    config: ModelConfig


def chosen_model(usecase: str, in_body: str | None, in_path: str | None = None) -> Chosen:
    """Find the model; raise `ModelNotFound`, `ModelDisabled`, or what is wrong with its YAML."""
    fallbacks = fallback.chain()
    name = fallbacks.instead or asked_name(in_body, in_path)
    config = find_model(name, usecase)
    fallbacks.note(config)
    return Chosen(name or config.name, config)


def asked_name(in_body: str | None, in_path: str | None = None) -> str | None:
    """Return the name of the model that the request asks for; None if it names none."""
    return in_body or in_path or request.args.get("model") or _in_token()


def find_model(name: str | None, usecase: str) -> ModelConfig:
    """Find the model of a name; what is not loaded as it is known here may have changed since the last look.

    Raises what `chosen_model` raises.
    """
    may_use = auth.key().model_filter
    try:
        config = current.registry().resolve(name, usecase, may_use)
    except ModelNotFound as not_found:
        if not name or not has_request_context():
            raise
        name = set_up(name, not_found)
        current.registry().refresh()
        config = current.registry().resolve(name, usecase, may_use)
    if current.pool().is_loaded(config):
        return config
    current.registry().refresh()
    return current.registry().resolve(name, usecase, may_use)


def _in_token() -> str | None:
    token = auth.bearer_token()
    return token if token and current.registry().is_model(token) else None
