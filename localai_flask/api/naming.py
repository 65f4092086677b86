"""Which model a request means: named in its body, its path, its query or its bearer token, or else the default one."""

from __future__ import annotations

from flask import request

from localai_flask.api import auth, current
from localai_flask.config.model import ModelConfig


def config_for(usecase: str, in_body: str | None, in_path: str | None = None) -> ModelConfig:
    """Find the model's config; raise `ModelNotFound`, `ModelDisabled`, or what is wrong with its YAML."""
    return current.registry().resolve(in_body or in_path or request.args.get("model") or _in_token(), usecase)


def _in_token() -> str | None:
    token = auth.bearer_token()
    return token if token and current.registry().is_model(token) else None
