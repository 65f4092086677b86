"""Running under gunicorn: its settings from ours, and the hooks that start and stop the pool manager.

`gunicorn.conf.py` and `localai-flask serve` both take everything from here; gunicorn reads the module's lower-case
names (https://gunicorn.org/reference/settings/).
"""

from __future__ import annotations

import atexit
import ctypes
import gc
import importlib
import os
import signal
import socket
import sys
import time
from types import FrameType
from typing import Any

from gunicorn import systemd

from localai_flask import log_privacy
from localai_flask.address import Address
from localai_flask.pool.runtime import ENV, Runtime
from localai_flask.server import settings_reload, start_checks
from localai_flask.server.processes import descriptors, fork_signals
from localai_flask.server.processes.kept_process import KeptProcess, Service
from localai_flask.server.processes.succession import web_workers
from localai_flask.server.web import SPARE_THREADS
from localai_flask.server.web.arrival import MAX_HEAD
from localai_flask.settings import Settings
from localai_flask.store.place import exists as has_database

PR_SET_CHILD_SUBREAPER = 36
FAREWELL_S = 2.0
"""How long before gunicorn's kill a draining stream is ended with a proper error event."""


def _read_settings() -> Settings:
    try:
        return settings_reload.read_first(os.environ)
    except ValueError as error:
        sys.exit(f"Error: {error}")


_settings = _read_settings()

wsgi_app = "localai_flask.app:create_app()"
bind = [each.bind for each in _settings.addresses]  # a list, as gunicorn takes a text apart at its commas
workers = _settings.workers
worker_class = "localai_flask.server.web.web_worker.Worker"
threads = _settings.http_threads + SPARE_THREADS
worker_connections = descriptors.connections(descriptors.soft_limit())
keepalive = 120
"""Seconds that an idle connection stays, unless others need its place: longer than clients and proxies keep them (nginx
60 s, Go's net/http 90 s), so that they close first and no request meets a closing socket."""
limit_request_line = 8190
limit_request_fields = 1000
limit_request_field_size = (
    MAX_HEAD  # the head as a whole is the limit: proxies and sign-on put long tokens into one field
)
timeout = 60
graceful_timeout = _settings.graceful_timeout
forwarded_allow_ips = ",".join(_settings.trusted_proxies)
forwarder_headers = ""  # no header is called SCRIPT_NAME or PATH_INFO here: X-Forwarded-Prefix says it
loglevel = _settings.log_level
control_socket_disable = True
worker_tmp_dir = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None

_has_preloads = bool(_settings.models or _settings.preload_models or _settings.preload_models_config)
POOL_MANAGER = Service(
    name="the pool manager",
    module="localai_flask.pool.manager",
    silence_s=10.0,
    grace_s=8.0,
)
BACKGROUND = Service(
    name="the process for background responses",
    module="localai_flask.background.runner",
    silence_s=15.0,  # one transaction may wait BUSY_S for others, and the application takes seconds to start
    grace_s=_settings.graceful_timeout + 5.0,  # time to drain, and then to say why runs have ended
    is_needed=lambda: _has_preloads or has_database(_settings),  # a server that stores nothing does without it
    drains=True,
)

_owner = 0
"""The process that the pool belongs to: the arbiter, and none that it forks."""
_services: list[KeptProcess] = []
_runtime: Runtime | None = None
_environment: dict[str, str] = {}
"""That of the services, whenever they are started."""
_reload = settings_reload.Reload(_settings)


def on_starting(server: Any) -> None:
    """Refuse to start where that could not work, or would be unsafe; take what descriptors there are."""
    for doubt in start_checks.find_doubts(_settings):
        server.log.warning("%s", doubt)
    faults = list(start_checks.find_faults(_settings, _addresses(server)))
    for fault in faults:
        server.log.error("%s", fault)
    if faults:
        sys.exit(1)
    descriptors.raise_limit()
    if server.START_CTX["args"][1] == "localai-flask":  # as the command names itself: on SIGUSR2 this is run again
        server.START_CTX["args"] = [sys.executable, "-m", "localai_flask", "serve"]


def _addresses(server: Any) -> list[Address]:
    """Return where the server listens, or will: at the addresses of its settings, unless systemd listens for it."""
    bound = [each.getsockname() for each in server.LISTENERS]
    first = systemd.SD_LISTEN_FDS_START
    inherited = range(first, first + systemd.listen_fds(unset_environment=False))
    return [_read_address(each) for each in (bound or inherited or server.cfg.address)]


def _read_address(bound: Any) -> Address:
    """Read one of gunicorn's addresses, which its own settings may have changed: host and port, path or descriptor."""
    if isinstance(bound, int):
        with socket.socket(fileno=os.dup(bound)) as inherited:
            bound = inherited.getsockname()
    return Address(path=str(bound)) if isinstance(bound, str | bytes) else Address(host=bound[0], port=bound[1])


def when_ready(server: Any) -> None:
    """Start the pool manager, now that the address is ours; let Ctrl-C drain the streams as SIGTERM does.

    A second Ctrl-C ends the streams at once, which is gunicorn's own rule.
    """
    try:
        _start_pool()
    except OSError as error:
        server.log.error("cannot start the pool of model workers: %s; XDG_RUNTIME_DIR names its folder", error)
        sys.exit(1)
    importlib.import_module("localai_flask.app").warm_up()  # so that a web worker in a dead one's place serves at once
    gc.freeze()
    server.handle_term = server.handle_int = _drain
    server.reload = lambda: _renew(server)
    if _settings.settings_file:
        settings_reload.ReloadWatch(_reload, lambda: server.SIG_QUEUE.put(signal.SIGHUP)).start()


def _renew(server: Any) -> None:
    """Do what gunicorn does on SIGHUP, but for its wait for the old web workers, in which it would hear nothing.

    Its loop then starts as many web workers as are missing.
    """
    if _take_up_settings(server):
        server.app.reload()
        server.setup(server.app)
        server.log.reopen_files()
        server.cfg.on_reload(server)


def _take_up_settings(server: Any) -> bool:
    """Read the settings file again, for web workers to come and for the services; return False if it has a fault."""
    global forwarded_allow_ips, loglevel, threads, workers
    assert _runtime is not None
    if not _reload.take_up(_addresses(server), _runtime.settings_file):
        return False
    settings = _reload.settings
    workers, threads, loglevel = settings.workers, settings.http_threads + SPARE_THREADS, settings.log_level
    forwarded_allow_ips = ",".join(settings.trusted_proxies)
    _environment.update(settings.to_environment())
    return True


def _drain() -> None:
    """Have background runs drain beside the web workers' streams, which gunicorn drains on its own from here on."""
    for process in _services:
        if process.drains:
            process.ask_to_leave()
    raise StopIteration


def pre_fork(server: Any, worker: Any) -> None:
    """Let no signal get lost between a web worker's fork and its handlers."""
    fork_signals.hold_back()


def _start_pool() -> None:
    global _owner, _runtime
    _owner = os.getpid()
    atexit.register(_leave)  # gunicorn calls on_exit only when it was told to stop
    # Model workers whose manager was killed become the arbiter's children, and its loop reaps them at their end.
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _runtime = Runtime.create()
    os.environ[ENV] = str(_runtime.path)
    _environment.update({**os.environ, **_settings.to_environment()})
    for service in (POOL_MANAGER, BACKGROUND):
        process = KeptProcess(service, _environment)
        _services.append(process)
        process.start()


def on_reload(server: Any) -> None:
    """Have the web workers leave by themselves, when those that gunicorn starts next are ready.

    Until they have left they count beside the others, so that gunicorn tells none to go, and replaces one that dies.
    """
    web_workers.renew(server.worker_age)
    server.num_workers += len(server.WORKERS)


def child_exit(server: Any, worker: Any) -> None:
    """Count a renewed web worker no longer, now that it has left."""
    if web_workers.is_renewed(worker.age):
        server.num_workers -= 1


def post_worker_init(worker: Any) -> None:
    """Leave a terminal's Ctrl-C to the arbiter, and limit draining so that streams can still say why they end.

    From here on the worker has to do with clients, whose words are nobody else's.
    """
    from localai_flask.api.work.watch import drain_until

    if not _reload.settings.log_prompts:
        log_privacy.hide_messages()

    def drain(number: int, frame: FrameType | None) -> None:
        drain_until(time.monotonic() + max(0.0, graceful_timeout - FAREWELL_S))
        worker.handle_exit(number, frame)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, drain)
    if not worker.alive:  # told to leave while the application was made; connections that are there are served
        drain_until(time.monotonic() + max(0.0, graceful_timeout - FAREWELL_S))
    worker.wsgi.extensions["in_flight"].serve(Runtime.from_environment().path)
    gc.collect()
    gc.freeze()  # what stays is not searched for garbage again, which would halt all requests for 0.1 s
    web_workers.take_over(worker.age)


def on_exit(server: Any) -> None:
    """Stop the pool and leave nothing behind."""
    _leave()


def _leave() -> None:
    if os.getpid() != _owner:
        return
    for process in reversed(_services):  # background runs before the models that they need
        process.stop()
    if _runtime is not None:
        _runtime.remove()
