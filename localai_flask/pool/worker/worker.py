"""The model worker: one process, one engine, one model.

The main thread does input and output on the channels, the engine thread owns the backend, and a third reports to the
manager. It leaves when it is told to, when the arbiter is gone, or when no manager has come back for 10 s.
"""

from __future__ import annotations

import logging
import math
import os
import secrets
import signal
import sys
import time

import msgspec

from localai_flask import log_privacy
from localai_flask.config import model as model_config
from localai_flask.errors import ConfigError, WorkerLeaving
from localai_flask.generation import Failed
from localai_flask.machine import limit_memory, resident_memory
from localai_flask.metrics import tracing
from localai_flask.metrics.counts import Counts
from localai_flask.pool import messages, protocol
from localai_flask.pool.announced_settings import AnnouncedSettings
from localai_flask.pool.channel import Channel, Hub, HubEvent, HubEventKind
from localai_flask.pool.in_hand import InHand
from localai_flask.pool.messages import Ask, Cancel, EndThinking, Generate, Ping, Pong
from localai_flask.pool.outbox import Outbox
from localai_flask.pool.protocol import LOG_FORMAT, Registration, Report, ReportAnswer, WorkerSpec
from localai_flask.pool.runtime import Runtime
from localai_flask.pool.worker.engine.engine_thread import EngineThread
from localai_flask.pool.worker.gauges import Gauges
from localai_flask.pool.worker.manager_link import ManagerLink
from localai_flask.settings import Settings

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""How often to look at what sends no event: the clock, and readers that are stuck."""
EXIT_BAD_CONFIG = 3
EXIT_LOAD_FAILED = 4
EXIT_ENGINE_BROKE = 5
EXIT_ORPHANED = 6


class ModelWorker:
    """The main thread's side: channels in, commands to the engine, answers out."""

    def __init__(self, spec: WorkerSpec):
        self.spec = spec
        self.config = model_config.decode(spec.config).engine
        self.address = f"localai-flask-{spec.worker_id}-{secrets.token_hex(8)}"
        self.hub = Hub(self.address)
        runtime = Runtime.from_environment()
        self.settings = AnnouncedSettings(runtime.settings_file, Settings.from_environment())
        in_hand = InHand(runtime.worker_hand(spec.worker_id))
        self.engine = EngineThread(
            self.config,
            self.publish,
            self.hub.wake,
            in_hand,
            queue_size=lambda: self.settings.now.queue_size,
            stream_interval_s=lambda: self.settings.now.stream_interval,
            is_cautious=spec.is_cautious,
        )
        self.engine.suspect(spec.suspects)
        self.gauges = Gauges(Counts.open(runtime.path), self.config.name, spec.worker_id)
        self.manager = ManagerLink(runtime, self.describe, self.report, self.hear)
        self.channels: set[Channel] = set()
        self.leave_at: float | None = None
        """When the last requests are given up, once the worker was told to leave."""

    def serve(self) -> int:
        """Run until there is a reason to leave; return the exit code."""
        arbiter = os.pidfd_open(Runtime.from_environment().arbiter_pid)
        self.hub.watch(arbiter)
        self.engine.start()
        self.manager.start()
        next_look = time.monotonic() + LOOK_S
        while True:
            for event in self.hub.recv(timeout=LOOK_S):
                if event.kind is HubEventKind.FD:
                    return EXIT_ORPHANED
                self.handle(event)
            if time.monotonic() >= next_look:
                next_look = time.monotonic() + LOOK_S
                self.drop_stuck()
                self.settings.look()  # for its log level
            if (code := self.reason_to_leave()) is not None:
                return code

    def reason_to_leave(self) -> int | None:
        if self.engine.info is not None or self.engine.error is not None:
            self.gauges.count_load(self.engine)
        if self.engine.error is not None:
            self.manager.fail(self.engine.error.info)
            return EXIT_BAD_CONFIG if isinstance(self.engine.error, ConfigError) else EXIT_LOAD_FAILED
        if self.engine.broke:
            return EXIT_ENGINE_BROKE
        if self.manager.lost:
            log.warning("no pool manager has come back; leaving")
            return EXIT_ORPHANED
        if self.leave_at is None:
            return None
        if self.engine.is_idle or not self.channels or time.monotonic() > self.leave_at:
            return 0
        return None

    def retire(self) -> None:
        """Take no more requests, and leave when those taken are done."""
        if self.leave_at is None:
            self.leave_at = math.inf

    def leave(self) -> None:
        """Take no more requests, and leave when those taken are done or the grace is over."""
        self.leave_at = min(self.leave_at or math.inf, time.monotonic() + self.spec.grace_s)

    def handle(self, event: HubEvent) -> None:
        channel = event.channel
        assert channel is not None
        if event.kind is HubEventKind.JOINED:
            channel.data = Outbox(channel, self.hub)
            self.channels.add(channel)
        elif event.kind is HubEventKind.ROOM:
            channel.data.flush()
        elif event.kind is HubEventKind.GONE:
            self.forget(channel)
        else:
            assert event.payload is not None
            self.take(channel, event.payload)

    def take(self, channel: Channel, payload: bytes) -> None:
        try:
            commands = messages.decode_commands(payload)
        except msgspec.MsgspecError as error:
            log.error("process %d sent what cannot be read (%s); hanging up", channel.peer_pid, error)
            self.drop(channel)
            return
        asked = [(request_id, command) for request_id, command in commands if isinstance(command, Ask)]
        if asked and self.leave_at is None:
            self.engine.ask(channel, asked)
            commands = [(request_id, command) for request_id, command in commands if not isinstance(command, Ask)]
        for request_id, command in commands:
            self.obey(channel, request_id, command)

    def drop_stuck(self) -> None:
        """End the channels of readers that have taken nothing for too long."""
        for channel in list(self.channels):
            channel.data.flush()
            if channel.data.is_stuck:
                log.warning("web worker %d does not read its answers; dropping it", channel.peer_pid)
                self.drop(channel)

    def drop(self, channel: Channel) -> None:
        self.forget(channel)
        self.hub.drop(channel)

    def forget(self, channel: Channel) -> None:
        self.channels.discard(channel)
        self.engine.forget(channel)

    def obey(self, channel: Channel, request_id: int, command: messages.Command) -> None:
        if isinstance(command, Ping):
            running, waiting = self.engine.load_counts
            channel.data.send([(request_id, Pong(self.engine.silent_s, running, waiting))])
        elif isinstance(command, Cancel):
            self.engine.cancel(channel, request_id)
        elif isinstance(command, EndThinking):
            self.engine.end_thinking(channel, request_id)
        elif isinstance(command, Generate | Ask) and self.leave_at is not None:
            error = WorkerLeaving(f"The worker of model {self.config.name} is leaving; try again.")
            channel.data.send([(request_id, Failed(error.info))])
        elif isinstance(command, Generate):
            self.engine.submit(channel, request_id, command)

    def publish(self, channel: Channel, answers: list[tuple[int, messages.Answer]]) -> None:
        """Send what a step produced; called by the engine thread, and never waits for a slow reader."""
        channel.data.send(answers)

    def describe(self) -> Registration:
        return Registration(
            worker_id=self.spec.worker_id,
            pid=os.getpid(),
            address=self.address,
            config=self.spec.config,
            info=self.engine.info,
            leaving=self.leave_at is not None,
        )

    def hear(self, answer: ReportAnswer) -> None:
        """Take what the manager says to a heartbeat; called by the thread that sends it."""
        self.engine.suspect(answer.suspects)
        if self.engine.info is None:
            return  # a load goes on with the room that it began with
        limit_memory(answer.room_bytes)
        if answer.room_bytes is not None and (excess := resident_memory() - answer.room_bytes) > 0:
            self.engine.give_back(excess)

    def report(self) -> Report:
        running, waiting = self.engine.load_counts
        report = Report(
            worker_id=self.spec.worker_id,
            progress=self.engine.progress,
            coming=self.engine.coming,
            engine_silent_s=self.engine.silent_s,
            running=running,
            waiting=waiting,
            taken=self.engine.activity.taken,
            idle_s=self.engine.activity.silence_s if self.engine.is_idle else 0.0,
            fruitless_s=0.0 if self.engine.is_idle else self.engine.activity.silence_s,
            memory_bytes=resident_memory(),
            spare_bytes=self.engine.spare_bytes,
            reserved_bytes=self.engine.reserved_bytes,
            cpu_s=time.process_time(),
            kv_usage=self.engine.kv_usage,
            leaving=self.leave_at is not None,
        )
        self.gauges.show(report)
        return report


def main() -> None:
    """Read the spec from standard input, serve, and end with a code that says whether another try makes sense."""
    spec = protocol.decode_spec(sys.stdin.buffer.read())
    server_log = open(int(sys.argv[1]), "w", buffering=1)  # noqa: SIM115  open for as long as the process runs
    # Standard error is the model's log, for whoever asks for that of one model.
    handlers: list[logging.Handler] = [logging.StreamHandler(server_log), logging.StreamHandler(sys.stderr)]
    logging.basicConfig(level=spec.log_level.upper(), handlers=handlers, format=LOG_FORMAT)
    limit_memory(spec.room_bytes)
    worker = ModelWorker(spec)
    if not spec.log_prompts:
        worker.engine.when_ready = log_privacy.hide_messages
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: worker.leave())
    signal.signal(signal.SIGUSR1, lambda *_: worker.retire())
    signal.set_wakeup_fd(worker.hub.wake_fd, warn_on_full_buffer=False)
    try:
        code = worker.serve()
    except Exception:
        log.exception("the worker of model %s broke", worker.config.name)
        code = EXIT_ENGINE_BROKE
    worker.engine.stop(timeout_s=5 if code == 0 and worker.engine.can_stop else 0)
    if (traced := tracing.of_process()) is not None:
        traced.flush()
    logging.shutdown()
    # The engine thread may sit in a C call for minutes, and destructors of C libraries are no place to wait.
    os._exit(code)
