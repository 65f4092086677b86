"""What the running application was made with, for code inside a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from flask import current_app, request

from localai_flask.gallery.jobs import Jobs
from localai_flask.metrics.request_record import RequestRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from localai_flask.api.door.key_places import KeyPlaces
    from localai_flask.api.door.places import Places
    from localai_flask.api.live.pictures import Pictures
    from localai_flask.config.folder.registry import Registry
    from localai_flask.gallery.index.galleries import Galleries
    from localai_flask.gallery.models.digests import Digests
    from localai_flask.keys.watched import WatchedKeys
    from localai_flask.metrics.counts import Counts
    from localai_flask.metrics.in_flight import InFlight
    from localai_flask.pool.client.pool_client import PoolClient
    from localai_flask.settings import Settings
    from localai_flask.store.opened import Store
    from localai_flask.store.probe import Probe

RECORD = "localai_flask.record"
"""The key of a request's record in its environment."""


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
    return store_opener()()


def store_opener() -> Callable[[], Store]:
    """What opens the store, for a stream, which goes on when there is no request any more."""
    return cast("Callable[[], Store]", current_app.extensions["store"])


def galleries() -> Galleries:
    """This process's view of the galleries, made at the first call."""
    return cast("Galleries", current_app.extensions["galleries"]())


def digests() -> Digests:
    """This process's view of the sums of the models' files, made at the first call."""
    return cast("Digests", current_app.extensions["digests"]())


def jobs() -> Jobs:
    """The jobs that install models into this server's folder; opens the store at the first call."""
    return Jobs(store().database, settings())


def store_probe() -> Probe:
    return cast("Probe", current_app.extensions["store_probe"])


def places() -> Places:
    return cast("Places", current_app.extensions["places"])


def key_places() -> KeyPlaces:
    """This process's view of the places of keys, made at the first call."""
    return cast("KeyPlaces", current_app.extensions["key_places"]())


def counts() -> Counts:
    """This process's counts, opened at the first call."""
    return cast("Counts", current_app.extensions["counts"]())


def in_flight() -> InFlight:
    return cast("InFlight", current_app.extensions["in_flight"])


def pictures() -> Pictures:
    """This process's pictures of the server, made at the first call."""
    return cast("Pictures", current_app.extensions["pictures"]())


def record() -> RequestRecord:
    """What is noted of the present request."""
    return record_in(request.environ)


def record_in(environ: dict[str, Any]) -> RequestRecord:
    """What is noted of the request of an environment."""
    found: RequestRecord | None = environ.get(RECORD)
    if found is None:  # it has not come through the server's door
        found = environ[RECORD] = RequestRecord(id="")
    return found
