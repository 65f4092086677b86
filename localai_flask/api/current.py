"""What the running application was made with, for code inside a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from flask import current_app

if TYPE_CHECKING:
    from localai_flask.api.limits import Places
    from localai_flask.config.registry import Registry
    from localai_flask.keys.watched import WatchedKeys
    from localai_flask.pool.client.pool_client import PoolClient
    from localai_flask.settings import Settings
    from localai_flask.store.opened import Store
    from localai_flask.store.probe import Probe


def settings() -> Settings:
    return cast("Settings", current_app.extensions["settings"])


def keys() -> WatchedKeys:
    return cast("WatchedKeys", current_app.extensions["keys"])


def registry() -> Registry:
    return cast("Registry", current_app.extensions["registry"])


def pool() -> PoolClient:
    """This process's client of the pool, made at the first call."""
    return cast("PoolClient", current_app.extensions["pool"]())


def store() -> Store:
    """This process's store, opened at the first call; raise `Unavailable` or `ServerConfigError` if it cannot be."""
    return cast("Store", current_app.extensions["store"]())


def store_probe() -> Probe:
    return cast("Probe", current_app.extensions["store_probe"])


def places() -> Places:
    return cast("Places", current_app.extensions["places"])
