"""The one family of errors a client may see.

An error knows its HTTP status, its public type and code, and the field it is about; its message says what to do.
Each API family renders it in its own shape. Between processes an error travels as `ErrorInfo`.
"""

from __future__ import annotations

from typing import ClassVar

import msgspec


class ErrorInfo(msgspec.Struct, frozen=True, array_like=True):
    """An error as data, so that it can cross a process boundary.

    `asked` and `limit` count the tokens of a prompt that does not fit.
    """

    status: int
    type: str
    code: str
    message: str
    param: str | None = None
    retry_after: float | None = None
    asked: int = 0
    limit: int = 0


class ApiError(Exception):
    """An error with a public face; `str(error)` is the sentence that the client reads."""

    status: ClassVar[int] = 500
    type: ClassVar[str] = "server_error"
    code: ClassVar[str] = "internal_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None):
        super().__init__(message)
        self.info = ErrorInfo(self.status, self.type, self.code, message, param, retry_after)

    @classmethod
    def from_info(cls, info: ErrorInfo) -> ApiError:
        """Rebuild an error that came from another process."""
        error = ApiError(info.message)
        error.info = info
        return error


class InvalidRequest(ApiError):
    status, type, code = 400, "invalid_request_error", "invalid_request"


class UnsupportedParameter(InvalidRequest):
    """A field that we know and cannot honour: refused by name, never dropped."""

    code = "unsupported_parameter"


class SuspectedRequest(InvalidRequest):
    """A request that a model worker died of; running it again would take the model away from everybody else."""

    code = "request_suspected"


def advise_shorter(limit: int, trained: int) -> str:
    """Describe what helps a prompt that does not fit; no setting helps beyond what the model was trained for."""
    if 0 < trained <= limit:
        return "shorten the prompt or choose a model for longer ones"
    return "shorten the prompt or raise `context_size` in the model's YAML"


class ContextOverflow(InvalidRequest):
    """A prompt that does not fit: its first words are OpenAI's, by which agents know that they have to shorten it."""

    code = "context_length_exceeded"

    def __init__(self, asked: int, limit: int, *, trained: int = 0, param: str | None = None, message: str = ""):
        """`trained` is how many tokens the model was trained for, 0 if that is not known."""
        usual = (
            f"This model's maximum context length is {limit} tokens, but the prompt has {asked}; "
            f"{advise_shorter(limit, trained)}."
        )
        super().__init__(message or usual, param=param)
        self.info = msgspec.structs.replace(self.info, asked=asked, limit=limit)


class Unauthorized(ApiError):
    status, type, code = 401, "invalid_request_error", "invalid_api_key"


class AdminRequired(ApiError):
    status, type, code = 403, "authorization_error", "admin_required"


class HostNotAllowed(ApiError):
    status, type, code = 403, "invalid_request_error", "host_not_allowed"


class OriginNotAllowed(ApiError):
    status, type, code = 403, "invalid_request_error", "origin_not_allowed"


class ModelDisabled(ApiError):
    status, type, code = 403, "invalid_request_error", "model_disabled"


class FeatureDisabled(ApiError):
    """Something of another server that this one does not do; its clients know the code."""

    status, type, code = 403, "invalid_request_error", "feature_disabled"


class RequestCancelled(ApiError):
    """An administrator has ended the request; 403, as the official clients would send it again at many others."""

    status, type, code = 403, "invalid_request_error", "request_cancelled"


class NotFound(ApiError):
    status, type, code = 404, "invalid_request_error", "not_found"


class Conflict(ApiError):
    """What is asked does not go together with what is being done; the official clients ask again by themselves."""

    status, type, code = 409, "invalid_request_error", "conflict"


class ModelNotFound(NotFound):
    code = "model_not_found"


class ConfigError(ApiError):
    """A model's YAML or file cannot be used; the message names the file and what to change.

    `line` is the one that the message names, if any. 422, since the official clients ask again at 408, 409, 429 and
    from 500 on, and asking again mends no file.
    """

    status, type, code = 422, "model_error", "model_config_invalid"

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = None, line: int = 0):
        super().__init__(message, param=param, retry_after=retry_after)
        self.line = line


class ServerConfigError(ConfigError):
    """A setting of the server, or its models folder as a whole, cannot be used."""

    status, type, code = 500, "server_error", "server_config_invalid"


class ModelLoadFailed(ApiError):
    """The engine could not load the model, and trying again would fail the same way; 422 as for `ConfigError`."""

    status, type, code = 422, "model_error", "model_load_failed"


class LoadCrashed(ModelLoadFailed):
    """Loading the model took its worker down, or the machine has no room for it: not known to be the file's fault."""

    status, type = 500, "server_error"


class OutOfMemory(LoadCrashed):
    """The machine had no memory for the model while it was loaded; another may leave for it."""

    code = "out_of_memory"


class NoRoom(ApiError):
    """A model that is not loaded, as it has no room within the limits that are set."""

    status, code = 507, "no_room"


class Unavailable(ApiError):
    """Something that a later try may well find working again."""

    status, code = 503, "unavailable"

    def __init__(self, message: str, *, param: str | None = None, retry_after: float | None = 1.0):
        super().__init__(message, param=param, retry_after=retry_after)


class ModelFileChanging(Unavailable):
    """Somebody is still writing the model's file, or has done so a moment ago; then it `is_whole` already."""

    code = "model_file_changing"
    is_whole = False


class ModelComing(Unavailable):
    """The model's files are still being fetched; the message says how much of them is there."""

    code = "model_coming"


class InstallationFailed(ModelLoadFailed):
    """An engine's environment could not be made; the message says why."""

    code = "backend_install_failed"


class InstallationInterrupted(Unavailable):
    """An installation was given up, or the package index could not be reached; a later try may go well."""

    code = "backend_install_interrupted"


class Overloaded(Unavailable):
    code = "overloaded"


class QueueFull(Overloaded):
    def __init__(self, size: int, retry_after: float = 1.0):
        super().__init__(
            f"{size} requests already wait for this model, as many as may; "
            "try again later or raise LOCALAI_QUEUE_SIZE.",
            retry_after=retry_after,
        )


class CallerSuspended(Unavailable):
    """The caller's requests have killed a model's worker again and again, so that others come first."""

    code = "caller_suspended"


class TooManyRequests(ApiError):
    """A caller has as many requests at work as it may have; the others' go on."""

    status, type, code = 429, "requests", "rate_limit_exceeded"


class WorkerDied(Unavailable):
    code = "model_worker_died"


class RemoteLost(WorkerDied):
    """A machine that lends its devices is gone, and the worker with it: no request is to blame."""


class WorkerLeaving(Unavailable):
    """The worker is draining; the pool client asks again, so a client sees this only if no other worker comes."""

    code = "model_worker_leaving"


class ServerShuttingDown(Unavailable):
    """The server drains and this request did not end in the time that was left."""

    code = "server_shutting_down"


class DeadlineExceeded(ApiError):
    status, code = 504, "deadline_exceeded"
