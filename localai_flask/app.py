"""The Flask application: wires settings, models, pool and API families together. Imports no model library."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from flask import Flask

from localai_flask.api import observation
from localai_flask.api.answer import errors
from localai_flask.api.anthropic import errors as anthropic_errors
from localai_flask.api.anthropic import routes as anthropic_routes
from localai_flask.api.anthropic.batches import routes as message_batch_routes
from localai_flask.api.batches import routes as batch_routes
from localai_flask.api.decisions import moderations
from localai_flask.api.decisions import routes as decision_routes
from localai_flask.api.door import cors
from localai_flask.api.door.admission import CHECKS
from localai_flask.api.door.key_places import KeyPlaces
from localai_flask.api.door.places import Places
from localai_flask.api.door.proxies import Proxied
from localai_flask.api.files import routes as file_routes
from localai_flask.api.live import routes as live_routes
from localai_flask.api.live.pictures import Pictures
from localai_flask.api.llama_server import adapters as numbered_adapters
from localai_flask.api.llama_server import infill, props, slots, tools
from localai_flask.api.llama_server import routes as llama_server_routes
from localai_flask.api.localai import config_routes, folder_routes, gallery_routes, installed_routes, log_routes
from localai_flask.api.localai import model_routes as localai_model_routes
from localai_flask.api.localai import routes as localai_routes
from localai_flask.api.ollama import errors as ollama_errors
from localai_flask.api.ollama.blueprints import BLUEPRINTS as OLLAMA
from localai_flask.api.openai import control as openai_control
from localai_flask.api.openai import embeddings as openai_embeddings
from localai_flask.api.openai import routes as openai_routes
from localai_flask.api.pages import health, metrics, openapi, requests, web_page
from localai_flask.api.pages import models as model_routes
from localai_flask.api.rerank import embed as cohere_embed
from localai_flask.api.rerank import errors as cohere_errors
from localai_flask.api.rerank import routes as rerank_routes
from localai_flask.api.rerank import score
from localai_flask.api.responses import routes as responses_routes
from localai_flask.api.responses.conversations import routes as conversation_routes
from localai_flask.api.streams import routes as stream_routes
from localai_flask.api.vllm import adapters as adapter_routes
from localai_flask.chat.prompt.jinja.render import render
from localai_flask.config.folder.registry import Registry
from localai_flask.config.model_yaml.schema import keys_of
from localai_flask.config.sampling.families import sampling_for
from localai_flask.errors import Unavailable
from localai_flask.gallery.index.galleries import Galleries
from localai_flask.gallery.models.digests import Digests
from localai_flask.keys.watched import WatchedKeys
from localai_flask.metrics.counts import Counts
from localai_flask.pool.client.pool_client import PoolClient
from localai_flask.pool.runtime import ENV, Runtime
from localai_flask.settings import Settings
from localai_flask.store.opened import Store
from localai_flask.store.probe import Probe

T = TypeVar("T")


def create_app(settings: Settings | None = None, *, registry: Any = None, pool: Any = None) -> Flask:
    """Make the application; without arguments from the environment and the running pool. Tests give their own."""
    settings = settings or Settings.from_environment()
    app = Flask("localai_flask", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = settings.upload_limit * 2**20
    app.url_map.strict_slashes = False
    app.extensions["proxied"] = Proxied(app.wsgi_app, settings.trusted_proxies)
    app.wsgi_app = app.extensions["proxied"]  # type: ignore[method-assign]
    app.extensions["settings"] = settings
    app.extensions["keys"] = WatchedKeys(settings, Runtime.keys_copy())
    registry = registry if registry is not None else Registry(settings)
    app.extensions["registry"] = registry
    make_pool = OfProcess(lambda: PoolClient(Runtime.from_environment(), registry.look_to_load))
    app.extensions["pool"] = (lambda: pool) if pool is not None else make_pool
    store = OfProcess(lambda: Store.open(settings))
    app.extensions["store"] = store
    app.extensions["galleries"] = OfProcess(lambda: Galleries(app.extensions["settings"]))
    app.extensions["digests"] = OfProcess(lambda: Digests(settings.models_path))
    app.extensions["store_probe"] = Probe(store)
    app.extensions["places"] = Places(settings.http_threads)
    app.extensions["key_places"] = OfProcess(lambda: KeyPlaces(Runtime.from_environment().path))
    for check in CHECKS:
        app.before_request(check)
    app.after_request(cors.add_headers)
    app.extensions["counts"] = OfProcess(_open_counts)
    app.extensions["pictures"] = OfProcess(lambda: Pictures(app))
    observation.observe(app)
    families = (anthropic_errors, ollama_errors, cohere_errors)
    errors.register(app, {mark: family.encode_error for family in families for mark in family.MARKS})
    _register_blueprints(app)
    return app


def warm_up() -> None:
    """Make what a first request would wait for, where that is the same for all; before the fork, it is made once."""
    sampling_for("-")
    keys_of(())
    render("", {})


def take_up_settings(app: Flask, settings: Settings) -> None:
    """Have requests that come from now on see other settings, as far as these can change while the server runs."""
    app.extensions["settings"] = app.extensions["registry"].settings = settings
    app.extensions["places"] = Places(settings.http_threads)


def _open_counts() -> Counts:
    """Count beside the other processes of the running server; outside of one, in this process alone."""
    return Counts.open(Runtime.from_environment().path) if ENV in os.environ else Counts()


class OfProcess(Generic[T]):
    """Makes something when it is first asked for, after gunicorn's fork, which threads and sockets do not survive.

    What could not be made, and can be later, is not tried again for `PAUSE_S`: those who wait meanwhile are told at
    once, instead of each trying, one after the other, what takes seconds to fail.
    """

    PAUSE_S = 0.5

    def __init__(self, make: Callable[[], T]):
        self._make = make
        self._lock = threading.Lock()
        self._made: tuple[int, T] | None = None
        self._failed: tuple[float, str] = -math.inf, ""

    def __call__(self) -> T:
        with self._lock:
            if self._made is None or self._made[0] != os.getpid():
                failed_at, why = self._failed
                if time.monotonic() - failed_at < self.PAUSE_S:
                    raise Unavailable(why)
                try:
                    self._made = os.getpid(), self._make()
                except Unavailable as error:
                    self._failed = time.monotonic(), str(error)
                    raise
            return self._made[1]


def _register_blueprints(app: Flask) -> None:
    api = openapi.create(app)
    app.add_url_rule(f"{web_page.PREFIX}/<version>/<path:name>", "web_file", web_page.file)
    api.register_blueprint(health.bp)
    api.register_blueprint(metrics.bp)
    api.register_blueprint(requests.bp)
    api.register_blueprint(log_routes.bp)
    api.register_blueprint(live_routes.bp)
    for blueprint in OLLAMA:
        api.register_blueprint(blueprint)
    openai = (openai_routes.bp, openai_control.bp, openai_embeddings.bp, model_routes.bp)
    gallery = (gallery_routes.bp, folder_routes.bp, installed_routes.bp, llama_server_routes.bp, infill.bp)
    localai = (localai_routes.bp, localai_model_routes.bp, config_routes.bp, rerank_routes.jina, score.bp, *gallery)
    api.register_blueprint(rerank_routes.cohere, url_prefix="/v2")
    api.register_blueprint(cohere_embed.bp, url_prefix="/v2")
    for blueprint in (
        *openai,
        *localai,
        decision_routes.bp,
        moderations.bp,
        anthropic_routes.bp,
        responses_routes.bp,
        conversation_routes.bp,
        file_routes.bp,
        batch_routes.bp,
        message_batch_routes.bp,
        adapter_routes.bp,
        numbered_adapters.bp,
        props.bp,
        slots.bp,
        tools.bp,
        stream_routes.bp,
    ):
        api.register_blueprint(blueprint, url_prefix="/v1")
        # The same paths without /v1, registered with Flask alone so that the OpenAPI page lists each operation once.
        app.register_blueprint(blueprint, url_prefix="/", name=f"{blueprint.name}-short")
