"""Whether the environments of engines can be used, and are those that this version asks for."""

from __future__ import annotations

from collections.abc import Iterator

from localai_flask.backends.environments.folder import Environment, Environments, is_in_use
from localai_flask.backends.environments.kinds import KINDS
from localai_flask.backends.environments.recipes import is_outdated
from localai_flask.diagnosis.findings import Finding
from localai_flask.settings import Settings


def check_environments(settings: Settings) -> Iterator[Finding]:
    """Look at each environment that is installed, and at what ended installations have left."""
    environments = Environments(settings.backends_folder)
    for name in sorted(KINDS):
        if (found := environments.find(name)) is not None:
            yield _look_at(found)
        left = [folder for folder in environments.remnants(name) if not is_in_use(folder)]
        if left and not environments.is_being_changed(name):
            advice = f"localai-flask backends install {name}, or backends delete {name}, removes it"
            yield Finding("warning", name, f"An installation that was ended has left {left[0]}.", advice)


def _look_at(found: Environment) -> Finding:
    name, record = found.name, found.record
    mend = f"localai-flask backends install {name}"
    if found.fault:
        return Finding("problem", name, f"It cannot be used, as {found.fault}.", mend)
    text = f"{record.version} for {record.platform} is installed in {found.path}"
    if is_outdated(found):
        return Finding("warning", name, f"{text}, and this version of localai-flask asks for another.", mend)
    return Finding("ok", name, f"{text}.")
