"""Which recipe makes the environment of a name, for this machine or for a platform that was asked for."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from localai_flask.backends.environments.folder import Environment
from localai_flask.backends.environments.kinds import KINDS
from localai_flask.backends.environments.package_tools import choose_tool
from localai_flask.backends.environments.packages import Packages
from localai_flask.backends.environments.programs import Program, usual_digest
from localai_flask.backends.environments.recipe import Recipe
from localai_flask.backends.environments.requirement_sets import choose_set, find_sets
from localai_flask.diagnosis.gpus import find_gpus
from localai_flask.engine_build.targets import CUDA, find_tool
from localai_flask.errors import ConfigError


def choose_recipe(
    name: str, platform: str = "", *, source: str = "", extra_indexes: Sequence[str] = (), offline: bool = False
) -> Recipe:
    """Return how an environment is made; without a platform for CUDA if there is an NVIDIA card.

    Raises `ConfigError` if there is no environment of that name, or none for that platform.
    """
    if name not in KINDS:
        near = get_close_matches(name, KINDS)
        hint = f"perhaps {near[0]} is meant" if near else f"there are: {', '.join(sorted(KINDS))}"
        raise ConfigError(f"There is no environment of a backend {name!r}; {hint}.", param="backend")
    has_card = any(CUDA in gpu.words for gpu in find_gpus())
    if KINDS[name].program:
        return Program(name, platform or (CUDA if has_card and find_tool(CUDA) else "cpu"), source)
    if source:
        raise ConfigError(f"The {name} backend is installed from packages; leave `--source` out.")
    tool = choose_tool(extra_indexes, offline=offline)
    return Packages(choose_set(name, platform, has_card=has_card), tool)


def is_outdated(environment: Environment) -> bool:
    """Return whether this version of the server asks for other packages, or another program, than are installed."""
    made = environment.record.digest
    if environment.program is not None:
        return made not in ("", usual_digest(environment.name))
    wanted = find_sets(environment.name).get(environment.record.platform)
    return wanted is None or wanted.digest != made
