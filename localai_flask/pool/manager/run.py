"""The manager's process: its server, its threads, its ticks, and when it ends."""

from __future__ import annotations

import logging
import os
import selectors
import signal
import sys
import threading
from collections.abc import Callable

from localai_flask.pool.announced_settings import AnnouncedSettings
from localai_flask.pool.manager.manager import PoolManager
from localai_flask.pool.manager.required_models import RequiredModels
from localai_flask.pool.protocol import LOG_FORMAT
from localai_flask.pool.proxy import PoolProxy, PoolServer
from localai_flask.pool.runtime import Runtime
from localai_flask.server.processes.child import beat
from localai_flask.settings import Settings

log = logging.getLogger(__name__)

TICK_S = 0.2
STOPPING_TICK_S = 0.02
ORPHAN_GRACE_S = 2.0
"""How long workers have to leave when the arbiter is gone."""


def main() -> None:
    """Run the manager until it is told to stop or the arbiter is gone."""
    settings, runtime = Settings.from_environment(), Runtime.from_environment()
    logging.basicConfig(level=settings.log_level.upper(), format=LOG_FORMAT)
    adopt = runtime.manager_socket.exists()
    runtime.manager_socket.unlink(missing_ok=True)
    manager = PoolManager(settings, runtime, adopt=adopt)
    PoolServer.register("pool", callable=lambda: manager, exposed=PoolProxy._exposed_)
    server = PoolServer(address=str(runtime.manager_socket), authkey=runtime.key).get_server()
    threading.Thread(target=server.serve_forever, name="pool-server", daemon=True).start()
    required = RequiredModels(settings, manager)
    required.start()
    announced = AnnouncedSettings(runtime.settings_file, settings)

    def take_up_settings() -> None:
        if (changed := announced.look()) is not None:
            required.settings = changed
            manager.take_up(changed)

    pulse = int(sys.argv[1]) if len(sys.argv) > 1 else None
    arbiter_gone = _tick_until_stopped(manager, runtime, pulse, take_up_settings)
    server.listener.close()  # type: ignore[attr-defined]  # typeshed leaves it out
    if arbiter_gone:
        runtime.remove()


def _tick_until_stopped(
    manager: PoolManager, runtime: Runtime, pulse: int | None, take_up_settings: Callable[[], None]
) -> bool:
    """Tick, and stop on a signal or when the arbiter is gone; return whether it is. Each tick is told on `pulse`."""
    reader, writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.set_wakeup_fd(writer)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # the wake-up descriptor carries the news
    try:
        arbiter = os.pidfd_open(runtime.arbiter_pid)
    except ProcessLookupError:
        return True
    arbiter_gone = False
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        selector.register(arbiter, selectors.EVENT_READ)
        while not manager.stopped:
            for key, _ in selector.select(STOPPING_TICK_S if manager.stopping else TICK_S):
                arbiter_gone = arbiter_gone or key.fd == arbiter
                selector.unregister(key.fd)
                manager.stop(ORPHAN_GRACE_S if arbiter_gone else manager.settings.graceful_timeout)
            try:
                take_up_settings()
                manager.tick()
            except Exception:
                log.exception("the pool manager's tick failed; going on")
            if pulse is not None:
                beat(pulse)
    return arbiter_gone
