"""Jobs that install models: submitted by requests, the start or the command line, worked on by the background process.

They live in the server's database and belong to the models folder that they fill, wherever the database is shared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from localai_flask.errors import NotFound
from localai_flask.gallery.install import Installed
from localai_flask.gallery.models.folder import find_folder_id, give_folder_id
from localai_flask.gallery.models.removal import Removed
from localai_flask.gallery.models.request import InstallRequest, decode, encode
from localai_flask.gallery.progress import remaining_s
from localai_flask.settings import Settings
from localai_flask.store.database import Database
from localai_flask.store.jobs import UNFINISHED, Status, StoredJob
from localai_flask.store.jobs import Jobs as StoredJobs

Phase = Literal["queued", "resolving", "downloading", "verifying", "completed"]


class JobProgress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a job is; `name` is the model's once that is known."""

    phase: Phase = "queued"
    name: str = ""
    file: str = ""
    done: int = 0
    total: int | None = None
    rate: float = 0.0

    @property
    def percent(self) -> float:
        return min(100.0, 100 * self.done / self.total) if self.total else 0.0

    @property
    def remaining_s(self) -> float | None:
        return remaining_s(self.done, self.total, self.rate)


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it is now; `error` is also why one that waits has to be tried again."""

    id: str
    name: str
    request: InstallRequest | None
    """None for one that has deleted a model."""
    status: Status
    progress: JobProgress
    created_at: float
    changed_at: float
    failures: int = 0
    error: str | None = None
    installed: Installed | None = None
    removed: Removed | None = None

    @property
    def wanted(self) -> str:
        """What was asked for, in a few words."""
        return self.request.wanted if self.request is not None else self.name

    @property
    def has_ended(self) -> bool:
        return self.status not in UNFINISHED


class Jobs:
    """The jobs of this server's models folder."""

    def __init__(self, database: Database, settings: Settings):
        self._database = database
        self._settings = settings

    def submit(self, request: InstallRequest) -> str:
        """Queue an installation and return the job's id, or that of one that has not ended and is for the same.

        Raises `ServerConfigError` if nothing can be written to the models folder, `Overloaded` if too many wait.
        """
        stored = StoredJobs(self._database, give_folder_id(self._settings.models_path))
        name, progress = request.name or request.wanted, encode_progress(JobProgress())
        return stored.submit(name, request.likeness, encode(request), progress)

    def record_removal(self, removed: Removed) -> str:
        """Keep that a model was deleted as a job that has ended, and return its id."""
        stored = StoredJobs(self._database, give_folder_id(self._settings.models_path))
        progress = encode_progress(JobProgress("completed", removed.name))
        return stored.record(removed.name, b"", progress, msgspec.json.encode(removed))

    def get(self, id: str) -> Job:
        """Return a job; raise `NotFound` if there is none of this id."""
        stored = self.stored()
        found = stored.get(id) if stored is not None else None
        if found is None:
            raise NotFound(f"There is no job {id[:100]!r}. GET /models/jobs lists those of the last days.", param="id")
        return _read(found)

    def list(self, unfinished_only: bool = False) -> Sequence[Job]:
        """Return the jobs of the last days, the newest first."""
        stored = self.stored()
        return [_read(each) for each in stored.list(unfinished_only)] if stored is not None else []

    def cancel(self, id: str) -> bool:
        """Have a job given up; what was received is kept. Return whether it had not ended; raise `NotFound`."""
        job, stored = self.get(id), self.stored()
        return stored is not None and not job.has_ended and stored.cancel(id)

    def stored(self) -> StoredJobs | None:
        """The jobs in the database; None if the folder never had any."""
        folder = find_folder_id(self._settings.models_path)
        return StoredJobs(self._database, folder) if folder is not None else None


def encode_progress(progress: JobProgress) -> bytes:
    return msgspec.json.encode(progress)


def _read(stored: StoredJob) -> Job:
    progress = msgspec.json.decode(stored.progress, type=JobProgress)
    is_removal = not stored.request
    result = stored.result or b""
    return Job(
        id=stored.id,
        name=progress.name or stored.name,
        request=None if is_removal else decode(stored.request),
        status=stored.status,
        progress=progress,
        created_at=stored.created_at,
        changed_at=stored.changed_at,
        failures=stored.failures,
        error=stored.error,
        installed=msgspec.json.decode(result, type=Installed) if result and not is_removal else None,
        removed=msgspec.json.decode(result, type=Removed) if result and is_removal else None,
    )
