"""What can go wrong with a download, beside an address that names nothing (`ConfigError`)."""

from __future__ import annotations

from localai_flask.errors import Unavailable


class DownloadFailed(Unavailable):
    """A file could not be fetched now; a later try goes on from what was received."""

    code = "model_download_failed"

    def __init__(self, message: str):
        super().__init__(message, retry_after=10.0)


class SourceUnreachable(DownloadFailed):
    """Nobody answers at the place where models come from."""

    code = "model_source_unreachable"
