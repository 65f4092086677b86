"""What answers in place of a model that cannot: those that its YAML names in `fallback`, one after the other.

The one place for all API families: a view that fails before anything was sent is run again, and chooses another model.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any, TypeVar, cast

from flask import Response, g, has_app_context

from localai_flask.config.model import ModelConfig
from localai_flask.errors import (
    ApiError,
    ConfigError,
    InstallationFailed,
    InstallationInterrupted,
    LoadCrashed,
    ModelComing,
    ModelDisabled,
    ModelFileChanging,
    ModelLoadFailed,
    ModelNotFound,
    NoRoom,
    OutOfMemory,
    Overloaded,
    Unavailable,
    WorkerDied,
    WorkerLeaving,
)
from localai_flask.gallery.errors import DownloadFailed, Offline, SourceUnreachable

log = logging.getLogger("gunicorn.error")

HEADER = "X-LocalAI-Fallback"
"""The response's header that names the model which has answered in place of the one that was asked for."""
CANNOT_ANSWER = frozenset(
    error.code
    for error in (
        *(ConfigError, ModelLoadFailed, LoadCrashed, OutOfMemory, NoRoom, ModelComing, ModelFileChanging),
        *(InstallationFailed, InstallationInterrupted, DownloadFailed, SourceUnreachable, Offline),
        *(Unavailable, Overloaded, WorkerDied, WorkerLeaving),
    )
)
"""What says of a model that it cannot answer now, and nothing of the request."""
NOT_FOR_THIS_KEY = frozenset(error.code for error in (ModelNotFound, ModelDisabled))
"""What is said of a model besides that the key may not use, or that is not there: it is passed over."""

View = TypeVar("View", bound=Callable[..., Any])


class Chain:
    """The models that one request has been given to, and those that are left."""

    def __init__(self) -> None:
        self.instead: str | None = None
        """The name of the model to choose, whatever the request says."""
        self._asked = ""
        self._tried: set[str] = set()
        self._left: list[str] = []

    @property
    def has_more(self) -> bool:
        """Whether another model would be asked if this one fails."""
        return any(name not in self._tried for name in self._left)

    def note(self, config: ModelConfig) -> None:
        """Take up what a model that was chosen falls back on; one that was tried already is none."""
        self._asked = self._asked or config.name
        self._tried.add(config.name)
        self._left += config.fallback

    def turns_to_next(self, error: ApiError) -> bool:
        """Return whether another model is there to be chosen, and choose it."""
        code = error.info.code
        if code not in CANNOT_ANSWER and not (self.instead is not None and code in NOT_FOR_THIS_KEY):
            return False
        while self._left:
            name = self._left.pop(0)
            if name not in self._tried:
                self._tried.add(name)
                log.warning("model %s cannot answer, so that %s is asked: %s", self.instead or self._asked, name, error)
                self.instead = name
                return True
        return False


def falls_back(view: View) -> View:
    """Have a view run again, with another model, where the one that was asked for cannot answer."""

    @functools.wraps(view)
    def answer(*args: Any, **kwargs: Any) -> Response:
        chain = g.fallbacks = Chain()
        first: ApiError | None = None
        while True:
            try:
                response: Response = view(*args, **kwargs)
            except ApiError as error:
                first = first or error
                if chain.turns_to_next(error):
                    continue
                raise first from None
            if chain.instead is not None:
                response.headers[HEADER] = chain.instead
            return response

    return cast("View", answer)


def chain() -> Chain:
    """Return the chain of the present request; an empty one for what does not fall back, or is no request."""
    found: Chain | None = g.get("fallbacks") if has_app_context() else None
    return found or Chain()
