"""Starting a model worker: what it is told, and on which interpreter it runs."""

from __future__ import annotations

import secrets

from localai_flask.backends import find_environment
from localai_flask.backends.environments.folder import Environments
from localai_flask.config import model as model_config
from localai_flask.config.model import ModelConfig
from localai_flask.config.model_yaml.downloads import missing_files
from localai_flask.errors import LoadCrashed
from localai_flask.pool.manager.table.entries import ModelEntry
from localai_flask.pool.manager.worker_process import WorkerProcess
from localai_flask.pool.protocol import WorkerSpec
from localai_flask.pool.runtime import Runtime
from localai_flask.settings import Settings


def start_worker(
    model: ModelEntry,
    settings: Settings,
    runtime: Runtime,
    environments: Environments,
    *,
    room_bytes: int | None,
    now: float,
) -> tuple[str, WorkerProcess]:
    """Start a worker; return its id and its process.

    Raises `ConfigError` if its engine cannot run here, `LoadCrashed` if no process can be started.
    """
    worker_id, config = secrets.token_hex(6), model.config
    spec = WorkerSpec(
        worker_id=worker_id,
        config=model_config.encode(config),
        runtime_dir=str(runtime.path),
        log_level=settings.log_level,
        log_prompts=settings.log_prompts,
        grace_s=float(settings.graceful_timeout),
        is_cautious=model.is_cautious,
        suspects=model.suspects.digests(now),
        room_bytes=room_bytes,
    )
    try:
        environment = find_environment(config.backend, environments)
        begins_here = bool(missing_files(config))  # its first part needs packages of the server (preparation.py)
        return worker_id, WorkerProcess.start(spec, config.name, runtime, None if begins_here else environment)
    except OSError as error:
        raise LoadCrashed(_no_worker(config, error)) from error


def _no_worker(config: ModelConfig, error: OSError) -> str:
    return f"Cannot start a worker for model {config.name}: {error}."
