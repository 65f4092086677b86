"""How a process of this package runs on an environment's interpreter.

It finds this package by a folder with nothing but a link to it, as a folder with the server's other packages would
bring those in front of the environment's own.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import localai_flask

LINKS = "package"


def link_package(folder: Path) -> Path:
    """Return the folder inside of `folder` by which this package is found; made if it is not there."""
    links = folder / LINKS
    links.mkdir(exist_ok=True)
    try:
        (links / localai_flask.__name__).symlink_to(Path(localai_flask.__file__).resolve().parent)
    except FileExistsError:
        pass
    return links


def module_command(python: Path, module: str, *arguments: str) -> list[str]:
    """Return what runs a module; the folder that the server was started in is not looked at."""
    return [str(python), "-P", "-m", module, *arguments]


def module_environment(python: Path, links: Path, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables for it: the environment's programs come first, as torch starts ninja by its name."""
    made = {key: value for key, value in environment.items() if key not in ("PYTHONHOME", "VIRTUAL_ENV")}
    path = os.pathsep.join([str(python.parent), *filter(None, [environment.get("PATH")])])
    return made | {"PYTHONPATH": str(links), "PATH": path}
