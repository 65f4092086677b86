"""Models that are not here yet: what a job is installing, and what a request names by where it comes from.

The latter, as in `owner/repo`, is fetched by a job too, as LocalAI does. The request is told how far that is, or waits
if it has asked to.
"""

from __future__ import annotations

import math
import time

from flask import request

from localai_flask.api import current
from localai_flask.api.door import auth
from localai_flask.api.request.waiting import LEAST_RETRY_S, MOST_RETRY_S, preferred_wait
from localai_flask.api.work.watch import Watch
from localai_flask.config import references
from localai_flask.errors import ApiError, InvalidRequest, ModelComing, ModelNotFound
from localai_flask.gallery.jobs import Job, Jobs
from localai_flask.gallery.models import records
from localai_flask.gallery.models.folder import find_folder_id
from localai_flask.gallery.models.request import InstallRequest
from localai_flask.gallery.progress import Progress

LOOK_S = 0.5
"""How often a waiting request looks at the job."""
REMEMBERED_S = 60.0
"""How long the failure of a job is the answer to the requests that would start the next one."""


def set_up(name: str, not_found: ModelNotFound) -> str:
    """Have a model fetched that is not here; once it is, return its name here, if the request waits for that.

    Raises `ModelComing` while it is on its way, what a job has failed of, and `not_found` if nobody installs a model of
    this name and it is none of a model elsewhere, or the caller may not have any fetched.
    """
    if id := _job_for(name):
        _wait(current.jobs(), id, name)
        return name
    if not _is_elsewhere(name):
        raise not_found
    if installed := _installed_from(name):
        return installed
    if current.settings().offline:
        raise ModelNotFound(f"{not_found} It is not fetched, as LOCALAI_OFFLINE is set.", param="model") from not_found
    if not _may_fetch(name):
        raise ModelNotFound(
            f"{not_found} It could be fetched, but not on behalf of this key; LOCALAI_AUTOLOAD_MODELS says for whom, "
            "and an administrator can install it by POST /models/apply.",
            param="model",
        ) from not_found
    jobs = current.jobs()
    wanted = InstallRequest(id=name, name=references.stored_name(name))
    id = _running_or_failed(jobs, wanted) or jobs.submit(wanted)
    _wait(jobs, id, name)
    return name


def _installed_from(name: str) -> str | None:
    """Return what a model is called here that somebody has installed by this name of where it is, and as it is."""
    likenesses = {InstallRequest(id=name, by_operator=whose).likeness for whose in (False, True)}
    found = (each.name for each in records.read_all(current.settings().models_path) if each.likeness in likenesses)
    return next((each for each in found if auth.key().may_use(each) and current.registry().is_model(each)), None)


def _job_for(name: str) -> str | None:
    """Return the job that installs a model of this name for anybody, if there is one that the caller may know of."""
    if find_folder_id(current.settings().models_path) is None or not auth.key().may_use(name):
        return None  # the folder has never had a job, so the database need not be asked
    return next((job.id for job in current.jobs().list(unfinished_only=True) if job.name == name), None)


def _is_elsewhere(name: str) -> bool:
    """Return whether a name is an address, or `owner/repo` of a hub."""
    try:
        return references.parse(name).scheme != "file"
    except ValueError:
        return False


def _may_fetch(name: str) -> bool:
    key, whose = auth.key(), current.settings().autoload_models
    if not key.may_use(references.stored_name(name)):
        return False
    return whose == "all" or (whose == "admin" and key.admin)


def _running_or_failed(jobs: Jobs, wanted: InstallRequest) -> str | None:
    """Return the last job for the same, if it still runs; raise why it failed, if that was a moment ago."""
    last = next((job for job in jobs.list() if job.request and job.request.likeness == wanted.likeness), None)
    if last is None:
        return None
    if last.status == "failed" and time.time() - last.changed_at < REMEMBERED_S:
        raise _failure(last)
    return None if last.has_ended else last.id


def _wait(jobs: Jobs, id: str, name: str) -> None:
    """Look at the job until it has ended, as long as the request waits; raise `ModelComing` then."""
    watch, end = Watch(request.environ), time.monotonic() + preferred_wait()
    while True:
        job = jobs.get(id)
        if job.status == "failed":
            raise _failure(job)
        if job.has_ended:
            return
        if time.monotonic() >= end:
            raise _coming(job, name)
        watch.check()
        time.sleep(LOOK_S)


def _failure(job: Job) -> ApiError:
    return InvalidRequest(f"The model could not be fetched: {job.error}", param="model")


def _coming(job: Job, name: str) -> ModelComing:
    far = job.progress
    shown = str(Progress(far.done, far.total, far.rate)) if far.done else far.phase
    failed = f"; the last try failed: {job.error}" if job.error else ""
    remaining = far.remaining_s
    retry_after = LEAST_RETRY_S if remaining is None else min(max(remaining, LEAST_RETRY_S), MOST_RETRY_S)
    return ModelComing(
        f"The model {name} is being fetched ({shown}{failed}); try again in {math.ceil(retry_after)} s, or send "
        "`Prefer: wait=600` to wait. GET /models/jobs says more.",
        param="model",
        retry_after=retry_after,
    )
