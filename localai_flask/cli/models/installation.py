"""Getting and removing models: by the running server's jobs, or in this process where none runs."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from localai_flask.cli.client.client import Client
from localai_flask.cli.exit_codes import CommandFailed, NoSuchThing, in_commands
from localai_flask.cli.progress import shown_download
from localai_flask.errors import ApiError, NotFound
from localai_flask.gallery.progress import Progress
from localai_flask.settings import Settings

LOOK_S = 0.3
"""How often to look at a job of the server."""


class Wish(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is to be installed, in the words of `POST /models/apply`."""

    id: str
    name: str = ""
    variant: str = ""
    force: bool = False


class Outcome(msgspec.Struct):
    """A model that was installed or removed, its files, and what is to be said about them."""

    name: str
    files: Sequence[str] = ()
    kept: Sequence[str] = ()
    note: str = ""


class _Started(msgspec.Struct):
    uuid: str


class _Job(msgspec.Struct):
    """What of a job of the server is read."""

    model: str
    processed: bool
    message: str = ""
    error: str | None = None
    cancelled: bool = False
    current_bytes: int = 0
    total_bytes: int | None = None
    bytes_per_second: float = 0.0
    file_name: str = ""
    files: Sequence[str] = ()
    kept_files: Sequence[str] = ()
    note: str = ""


def install_by_server(client: Client, wish: Wish) -> Outcome:
    """Have the server install a model and show how far it is; Ctrl-C cancels it, and what has come is kept."""
    started = client.decode(client.call("POST", "/models/apply", msgspec.to_builtins(wish)).content, _Started)
    path = f"/models/jobs/{started.uuid}"
    try:
        with shown_download(wish.name or wish.id, at_once=True) as report:
            while not (job := client.get(path, _Job)).processed:
                if job.current_bytes:
                    report(Progress(job.current_bytes, job.total_bytes, job.bytes_per_second, job.file_name))
                time.sleep(LOOK_S)
    except KeyboardInterrupt:
        client.call("POST", f"{path}/cancel")
        raise
    if job.error or job.cancelled:
        raise CommandFailed(in_commands(job.error or "") or f"Somebody has cancelled the installation of {wish.id}.")
    return Outcome(job.model, job.files, job.kept_files, job.note)


def install_here(settings: Settings, wish: Wish) -> Outcome:
    """Install a model into the folder of the settings."""
    from localai_flask.gallery.install import install, is_installed
    from localai_flask.gallery.models import records
    from localai_flask.gallery.models.request import InstallRequest

    request = InstallRequest(**msgspec.structs.asdict(wish), by_operator=True)
    if is_installed(request, settings):
        known = next(each for each in records.read_all(settings.models_path) if each.likeness == request.likeness)
        return Outcome(known.name, known.paths, note="it was there already")
    try:
        with shown_download(wish.name or wish.id, at_once=True) as report:
            found = install(request, settings, report=report)
    except ApiError as error:
        raise as_failure(error) from error
    return Outcome(found.name, found.files, note=found.note)


def remove_by_server(client: Client, name: str) -> Outcome:
    """Have the server delete a model."""
    from urllib.parse import quote

    answer = client.call("POST", f"/models/delete/{quote(name)}")
    job = client.get(f"/models/jobs/{client.decode(answer.content, _Started).uuid}", _Job)
    return Outcome(name, job.files, job.kept_files)


def remove_here(settings: Settings, name: str) -> Outcome:
    """Delete a model of the folder of the settings."""
    from localai_flask.gallery.models.removal import remove_model

    try:
        found = remove_model(name, settings)
    except ApiError as error:
        raise as_failure(error) from error
    return Outcome(found.name, found.files, found.kept)


def with_folder(settings: Settings) -> Settings:
    """Return settings whose models folder is there: the one that is named, else this user's own."""
    from localai_flask.gallery.starter import models_folder

    is_named = settings.models_path != Settings().models_path
    folder = settings.models_path if is_named or settings.models_path.exists() else models_folder()
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandFailed(f"The models folder {folder} cannot be made: {error.strerror}.") from error
    return dataclasses.replace(settings, models_path=folder)


def as_failure(error: ApiError) -> CommandFailed:
    """Return an error of the project as one that ends a command."""
    kind: Any = NoSuchThing if isinstance(error, NotFound) else CommandFailed
    failure: CommandFailed = kind(in_commands(str(error)))
    return failure
