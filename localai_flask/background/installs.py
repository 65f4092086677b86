"""Installations of models that this process works on: each has a thread, which never waits for the database.

`tick` is called by the main thread, which alone writes there: how far each is, and how it has ended. A process that is
killed leaves its leases to run out, and whoever has the models folder then resumes from what was received.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from localai_flask.api.answer.errors import MISTAKE
from localai_flask.backends import BACKENDS
from localai_flask.config.files.bounded import read_text
from localai_flask.config.model_yaml import yamlfile
from localai_flask.errors import ApiError, ConfigError
from localai_flask.gallery.errors import DownloadFailed, Stopped
from localai_flask.gallery.install import Installed, install, is_installed
from localai_flask.gallery.jobs import JobProgress, Jobs, Phase, encode_progress
from localai_flask.gallery.models.plan import Plan
from localai_flask.gallery.models.request import InstallRequest, decode
from localai_flask.gallery.progress import Progress
from localai_flask.settings import Settings
from localai_flask.settings.galleries import parse_preloads
from localai_flask.store.database import Database
from localai_flask.store.jobs import Jobs as StoredJobs
from localai_flask.store.jobs import StoredJob

log = logging.getLogger("gunicorn.error")

LOOK_S = 0.25
RENEW_S = 2.0
LOG_S = 10.0
"""How often the log says how far an installation is."""
MOST_AT_ONCE = 3
"""Installations side by side, so that a small model need not wait for a large one."""
MOST_FAILURES = 5
"""How often a download that fails in a way that may pass is tried before the job fails."""
MOST_CLAIMS = 10
"""How many processes may end while they work on a job before it is given up."""
FIRST_PAUSE_S, LONGEST_PAUSE_S = 5.0, 300.0


@dataclasses.dataclass(frozen=True)
class Ended:
    """How an installation has ended: with what was installed, or with why it was not."""

    installed: Installed | None = None
    error: ApiError | None = None


class Installation(threading.Thread):
    """One job at work."""

    def __init__(self, job: StoredJob, settings: Settings):
        super().__init__(name=f"install-{job.id}", daemon=True)
        self.job = job
        self.progress = JobProgress("resolving")
        self.ended: Ended | None = None
        self.recorded: JobProgress | None = None
        self.recorded_at = 0.0
        self.stopping = threading.Event()
        self._settings = settings
        self._logged_at = time.monotonic()

    def run(self) -> None:
        try:
            self.ended = Ended(self._install())
        except ApiError as error:
            self.ended = Ended(error=error)
        except Exception:  # the thread's boundary: whatever it is, the job must not run for ever
            log.exception("installing %s failed", self.job.name)
            self.ended = Ended(error=ApiError(MISTAKE))

    def _install(self) -> Installed:
        return install(
            decode(self.job.request),
            self._settings,
            report=self._report,
            stopped=self.stopping.is_set,
            engines=frozenset(BACKENDS),
            planned=self._note_plan,
        )

    def _note_plan(self, plan: Plan) -> None:
        self.progress = JobProgress("downloading", plan.name)
        note = f": {plan.record.note}" if plan.record.note else ""
        log.info("installing model %s from %s%s", plan.name, plan.record.entry, note)

    def _report(self, progress: Progress) -> None:
        phase: Phase = "verifying" if progress.done == progress.total else "downloading"
        name, file = self.progress.name, progress.file
        self.progress = JobProgress(phase, name, file, progress.done, progress.total, progress.rate)
        if time.monotonic() - self._logged_at > LOG_S:
            self._logged_at = time.monotonic()
            log.info("installing model %s: %s", name, progress)


class Installs:
    """The installations of one background process."""

    def __init__(self, database: Database, settings: Settings, home: str, owner: str):
        self._database = database
        self.settings = settings
        self._home, self._owner = home, owner
        self._running: dict[str, Installation] = {}
        self._look_at = 0.0
        self._has_begun = False

    def tick(self, now: float) -> None:
        """Write what is new and take on more; raise `Unavailable` if the database cannot be reached."""
        if now < self._look_at:
            return
        self._look_at = now + LOOK_S
        if not self._has_begun:
            self._begin()
        stored = Jobs(self._database, self.settings).stored()
        if stored is None:
            return
        for installation in list(self._running.values()):
            self._record(installation, stored, now)
        while len(self._running) < MOST_AT_ONCE and (job := stored.claim(self._owner)) is not None:
            self._start(job, stored)

    def forget_old(self) -> None:
        """Delete jobs that ended long ago."""
        if (stored := Jobs(self._database, self.settings).stored()) is not None:
            stored.forget_old()

    def give_back(self) -> None:
        """Return all jobs to the queue, as the process is about to leave."""
        stored = Jobs(self._database, self.settings).stored()
        for installation in self._running.values():
            installation.stopping.set()
            if stored is not None:
                stored.release(self._owner, installation.job.id)
        self._running.clear()

    def _begin(self) -> None:
        jobs = Jobs(self._database, self.settings)
        for request in preloads(self.settings):
            if not is_installed(request, self.settings):
                jobs.submit(request)
        if (stored := jobs.stored()) is not None:
            stored.abandon(self._home, but=self._owner)
        self._has_begun = True

    def _start(self, job: StoredJob, stored: StoredJobs) -> None:
        if job.claims > MOST_CLAIMS:
            said = f"{MOST_CLAIMS} processes have ended while they installed this; the server's log may say why."
            stored.end(self._owner, job.id, "failed", error=said)
            return
        installation = self._running[job.id] = Installation(job, self.settings)
        installation.start()

    def _record(self, installation: Installation, stored: StoredJobs, now: float) -> None:
        ended, progress = installation.ended, installation.progress
        if ended is not None:
            del self._running[installation.job.id]
            self._end(installation, ended, stored)
        elif progress != installation.recorded or now - installation.recorded_at > RENEW_S:
            installation.recorded, installation.recorded_at = progress, now
            if stored.record_progress(self._owner, installation.job.id, encode_progress(progress)) != "go on":
                installation.stopping.set()

    def _end(self, installation: Installation, ended: Ended, stored: StoredJobs) -> None:
        job, error = installation.job, ended.error
        if ended.installed is not None:
            done = msgspec.structs.replace(installation.progress, phase="completed", name=ended.installed.name)
            stored.record_progress(self._owner, job.id, encode_progress(done))
            stored.end(self._owner, job.id, "completed", result=msgspec.json.encode(ended.installed))
        elif isinstance(error, Stopped):
            stored.end(self._owner, job.id, "cancelled")
        elif isinstance(error, DownloadFailed) and job.failures + 1 < MOST_FAILURES:
            pause_s = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 3**job.failures)
            log.warning("installing %s: %s Trying again in %.0f s", job.name, error, pause_s)
            stored.postpone(self._owner, job.id, pause_s, str(error))
        else:
            log.error("installing %s failed: %s", job.name, error)
            stored.end(self._owner, job.id, "failed", error=str(error))


def preloads(settings: Settings) -> list[InstallRequest]:
    """List what is to be installed at the start; what cannot be read is logged and passed over."""
    raw: list[Any] = [{"id": name} for name in settings.models]
    raw += parse_preloads(settings.preload_models)
    if settings.preload_models_config:
        raw += _read_preloads(Path(settings.preload_models_config))
    requests = []
    for each in raw:
        try:
            requests.append(msgspec.convert({**each, "by_operator": True}, InstallRequest))
        except (msgspec.ValidationError, TypeError) as error:
            log.error("a model to install at the start cannot be read, %r: %s", each, error)
    return requests


def _read_preloads(file: Path) -> list[Any]:
    try:
        content = yamlfile.parse(read_text(file, yamlfile.MOST_BYTES))
    except (ConfigError, ValueError) as error:
        log.error("the models to install at the start cannot be read: %s: %s", file, error)
        return []
    return content if isinstance(content, list) else [content]
