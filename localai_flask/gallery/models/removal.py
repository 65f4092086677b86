"""Takes a model out of the models folder, with the files that no other model there needs."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec

from localai_flask.atomic_file import editing
from localai_flask.config.files.listing import is_yaml
from localai_flask.config.folder.registry import Registry
from localai_flask.errors import InvalidRequest, ModelNotFound
from localai_flask.gallery.errors import DownloadFailed
from localai_flask.gallery.models import records
from localai_flask.gallery.models.usage import entries_of, used_by, used_by_others
from localai_flask.settings import Settings

log = logging.getLogger("gunicorn.error")


class Removed(msgspec.Struct, frozen=True):
    """What was taken out of the folder, and what was left because another model uses it."""

    name: str
    files: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def remove_model(name: str, settings: Settings) -> Removed:
    """Delete a model's YAML, then its files, then what is remembered of it, so that it may be repeated if broken off.

    Raises `ModelNotFound`, and `InvalidRequest` for one that stands in a file with others.
    """
    folder = settings.models_path.absolute()
    removed: list[str] = []
    kept: list[str] = []
    with editing(folder):  # else a change of its YAML that is under way would write it again
        registry = Registry(settings)
        source = find_source(name, registry, folder)
        own, others = used_by(name, registry, folder), used_by_others(name, registry, folder)
        if is_yaml(source):
            _delete(source)
            removed.append(source.name)
        for path in own:
            if others.has(path):
                kept += [path] if (folder / path).exists() else []
            elif _delete_below(folder, path):
                removed.append(path)
        _delete(records.path_of(folder, name))
    log.info("model %s is deleted: %s%s", name, ", ".join(removed), f"; kept {', '.join(kept)}" if kept else "")
    return Removed(name, tuple(removed), tuple(kept))


def find_source(name: str, registry: Registry, folder: Path) -> Path:
    """Find the file that a model stands in alone, or with its variants.

    Raises `ModelNotFound`, and `InvalidRequest` if others stand there too.
    """
    models = registry.models()
    file = folder / f"{name}.yaml"
    if name in models:
        file = Path(models[name].source)
    elif not (name in registry.problems() and file.exists()) and records.read(folder, name) is None:
        raise ModelNotFound(f"There is no model {name[:200]!r} in {folder}.", param="model")
    if others := [each for each in entries_of(file) if each != name]:
        raise InvalidRequest(
            f"{file.name} also holds {', '.join(others)}; change the part of {name!r} in the file yourself.",
            param="model",
        )
    return file


def _delete_below(folder: Path, path: str) -> bool:
    """Delete a file or a model's folder, and the folders around it that are empty then; return whether it was there."""
    target = folder / path
    if not target.parent.resolve().is_relative_to(folder.resolve()) or not (target.exists() or target.is_symlink()):
        return False
    if target.is_dir() and not target.is_symlink():
        _delete(target, shutil.rmtree)
    else:
        _delete(target)
    for parent in target.parents:
        if parent == folder or any(parent.iterdir()):
            break
        _delete(parent, Path.rmdir)
    return True


def _delete(path: Path, delete: Callable[[Path], None] = Path.unlink) -> None:
    try:
        delete(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        raise DownloadFailed(f"Cannot delete {path}: {error.strerror}; check the models folder.") from error
