"""What can go wrong with getting a model, beside what the files themselves are (`ConfigError`)."""

from __future__ import annotations

from localai_flask.errors import ApiError, InvalidRequest, NotFound, Unavailable


class DownloadFailed(Unavailable):
    """A file could not be fetched now; a later try goes on from what was received."""

    code = "model_download_failed"

    def __init__(self, message: str, *, retry_after: float = 0.0):
        """`retry_after` is what a server has asked for, in seconds; 0 if it has not."""
        super().__init__(message, retry_after=max(retry_after, 10.0))
        self.asked_for = retry_after


class SourceUnreachable(DownloadFailed):
    """Nobody answers at the place where models come from."""

    code = "model_source_unreachable"


class NoReference(InvalidRequest):
    """A text that names no model to get."""

    code = "model_reference_invalid"


class NotOffered(NotFound):
    """What is named is not there, or cannot be taken."""

    code = "model_source_not_found"


class PrivateAddress(InvalidRequest):
    """A stranger names an address of this machine or of a private network."""

    code = "private_address"

    def __init__(self, host: str):
        super().__init__(
            f"{host} is on this machine or in a private network, and requests may not name such addresses; "
            "LOCALAI_FETCH_PRIVATE_ADDRESSES lets them."
        )


class NameTaken(ApiError):
    """The models folder has another file of that name."""

    status, type, code = 422, "model_error", "model_file_exists"


class Offline(ApiError):
    """Something would have to be fetched, and this server is set to fetch nothing."""

    status, type, code = 422, "server_error", "offline"

    @classmethod
    def for_files(cls, of: str, setting: str = "LOCALAI_OFFLINE") -> Offline:
        """Return the error for files that are not there, with the setting that keeps them away."""
        return cls(f"{of} cannot be fetched, as {setting} is set; unset it, or put the files into the models folder.")


class Stopped(ApiError):
    """Who wanted the files does not want them any more; what was received is kept."""

    status, type, code = 409, "invalid_request_error", "download_stopped"
