"""Which names of models and files may come from outside: from a gallery, a request or an address.

What is written under them lies in the models folder and nowhere else, is seen there, and replaces nothing that is of
another kind.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from localai_flask.config.references.reference import find_fault, find_fault_of_file
from localai_flask.errors import InvalidRequest

LONGEST_NAME = 160
"""Characters of a model's name: what is remembered of it adds to the name of its file."""
RESERVED = frozenset({"available", "capabilities", "galleries", "jobs", "sse"})
"""Names that are paths below /models, so that GET /models/<name> could not reach the model."""


def file_stem(name: str) -> str:
    """Return how a model's name stands in the name of its file: with "__" for "/", as LocalAI has it."""
    return name.strip().replace("/", "__")


def check_model_name(name: str, field: str = "name") -> str:
    """Return a name that a model may be installed under, as `file_stem` writes it.

    Raises `InvalidRequest` with what is wrong with it; the request calls it `field`.
    """
    stored = file_stem(name)
    fault = find_fault(stored.replace(":", "-"))  # as in `qwen:precise`
    if len(stored) > LONGEST_NAME:
        fault = f"is longer than {LONGEST_NAME} characters"
    elif stored.lower() in RESERVED:
        fault = "is a path of this server"
    elif not stored:
        fault = "is empty"
    if fault:
        raise InvalidRequest(f"The model name {_shown(name)} {fault}; choose another `{field}`.", param=field)
    return stored


def check_file_name(name: str) -> str:
    """Return a path below the models folder that a file may be written to; raise `InvalidRequest` for any other."""
    if fault := find_fault_of_file(name):
        raise InvalidRequest(f"The file name {_shown(name)} {fault}; it is refused.", param="files")
    return str(PurePosixPath(name))


def check_place(models_path: Path, name: str) -> Path:
    """Return where a file of a checked name lies; raise `InvalidRequest` if links lead it out of the models folder."""
    folder = models_path.absolute()
    target = folder / name
    if not target.parent.resolve().is_relative_to(folder.resolve()):
        raise InvalidRequest(f"The file name {_shown(name)} leads out of the models folder by a link.", param="files")
    return target


def _shown(name: str) -> str:
    return repr(name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "…")
