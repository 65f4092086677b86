"""Hugging Face's hub, or another one with its routes: `HF_ENDPOINT` and `HF_TOKEN` say which, and who asks.

`huggingface_hub` is asked what is there. The files come by this server's own downloader, since one place decides about
locks, room, sums and cancelling for all sources.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx2
import requests

from localai_flask.config.references import Reference
from localai_flask.config.references.reference import find_fault
from localai_flask.gallery.errors import NotOffered, Offline, SourceUnreachable
from localai_flask.gallery.sources.access import Access
from localai_flask.gallery.sources.hub_files import Selection, select
from localai_flask.gallery.sources.offer import Offer, RemoteFile
from localai_flask.gallery.sources.retries import retry
from localai_flask.gallery.transport.remote import PASSING, Bearer, open_session, read_retry_after, shown

if TYPE_CHECKING:
    from huggingface_hub import HfApi
    from huggingface_hub.hf_api import ModelInfo, RepoSibling

logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line for each request says nothing to an operator
HUB = "https://huggingface.co"
PATIENCE_S = 30.0
SHA1_DIGITS, SHA256_DIGITS = 40, 64
DENIED = (401, 403)


def endpoint() -> str:
    """Return the hub's address, or that of its mirror."""
    return (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def look_up(reference: Reference, access: Access) -> Offer:
    """Find the files that a reference means in its repository, as they are at this moment.

    Raises `SourceUnreachable` if the hub does not answer, `NotOffered` if it has no such thing.
    """
    info = retry(lambda: _ask(reference))
    siblings = {each.rfilename: each for each in info.siblings or ()}
    chosen = select(reference, {path: _size(each) for path, each in siblings.items()}, access)
    names = {path: _local_name(reference, path, chosen) for path in chosen.paths}
    if chosen.mmproj:
        names[chosen.mmproj] = f"{reference.repo.rpartition('/')[2]}-{chosen.mmproj.rpartition('/')[2]}"
    revision = info.sha or reference.revision or "main"
    files = tuple(_file(siblings[path], name, reference, revision, access) for path, name in names.items())
    return Offer(
        name=reference.stem.removesuffix("-GGUF").removesuffix("-gguf"),
        files=files,
        model=reference.repo if chosen.is_folder else names[chosen.paths[0]],
        mmproj=names[chosen.mmproj] if chosen.mmproj else None,
        note="; ".join(filter(None, (chosen.note, chosen.mmproj and f"with its projector {names[chosen.mmproj]}"))),
    )


def connect(file: RemoteFile) -> requests.Session:
    """Open a session that shows the hub's token to the hub, and to no other host that it sends us to."""
    session = open_session(private_addresses=file.private_addresses)
    token = _token()
    if token and urlsplit(file.url)[:2] == urlsplit(endpoint())[:2]:
        session.auth = Bearer(token)
    return session


def _token() -> str:
    from huggingface_hub import get_token

    return get_token() or ""


def _ask(reference: Reference) -> ModelInfo:
    """Ask for a repository's files and their sizes and sums."""
    from huggingface_hub import errors

    try:
        info = _api(reference).model_info(
            reference.repo, revision=reference.revision or None, files_metadata=True, timeout=PATIENCE_S
        )
    except errors.GatedRepoError as error:
        raise _gated(reference) from error
    except errors.RevisionNotFoundError as error:
        raise NotOffered(f"{reference.repo} has no branch, tag or commit {reference.revision!r}.") from error
    except errors.RepositoryNotFoundError as error:
        raise _not_there(reference) from error
    except errors.OfflineModeIsEnabled as error:
        raise Offline.for_files(reference.text, "HF_HUB_OFFLINE") from error
    except errors.HfHubHTTPError as error:
        if error.response.status_code in DENIED:
            raise _not_there(reference) from error
        raise _failed(error.response.status_code, error.response.headers.get("Retry-After", "")) from error
    except (OSError, httpx2.HTTPError) as error:
        reason = str(error) or type(error).__name__
        raise SourceUnreachable(f"Cannot reach the hub {shown(endpoint())}: {reason}; check the network.") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise NotOffered(f"{shown(endpoint())} does not answer as a hub does ({error}); check HF_ENDPOINT.") from error
    if info.gated and not _token():
        raise _gated(reference)
    return info


def _api(reference: Reference) -> HfApi:
    from huggingface_hub import HfApi

    if os.environ.get("HF_HUB_OFFLINE", "").lower() in ("1", "true", "yes", "on"):
        raise Offline.for_files(reference.text, "HF_HUB_OFFLINE")
    return HfApi(endpoint=endpoint(), library_name="localai-flask", token=_token() or False)


def _gated(reference: Reference) -> NotOffered:
    return NotOffered(
        f"{reference.repo} is gated: accept its terms at {shown(endpoint())}/{reference.repo}, and set HF_TOKEN to a "
        "token of who did."
    )


def _not_there(reference: Reference) -> NotOffered:
    """Return what is said of a repository that is not there, which hubs also say of one that is nobody's business."""
    login = "or HF_TOKEN may not read it" if _token() else "or it needs a token in HF_TOKEN"
    return NotOffered(f"There is no {reference.repo} at {shown(endpoint())}, {login}.")


def _failed(status: int, retry_after: str) -> SourceUnreachable | NotOffered:
    said = f"The hub {shown(endpoint())} answers {status}"
    if status not in PASSING:
        return NotOffered(f"{said}; check HF_ENDPOINT and HF_TOKEN.")
    return SourceUnreachable(f"{said}; try again later.", retry_after=read_retry_after(retry_after))


def _local_name(reference: Reference, path: str, chosen: Selection) -> str:
    """Return a file's path in the models folder: a GGUF file lies there itself, other models in `owner/repo`."""
    name = f"{reference.repo}/{path}" if chosen.is_folder else path.rpartition("/")[2]
    if fault := find_fault(path) or find_fault(name):
        raise NotOffered(f"{reference.repo} has a file {path!r}, which {fault}.")
    return name


def _file(sibling: RepoSibling, name: str, reference: Reference, revision: str, access: Access) -> RemoteFile:
    from huggingface_hub import hf_hub_url

    url = hf_hub_url(reference.repo, sibling.rfilename, revision=revision, endpoint=endpoint())
    size, sha256, git_sha1 = sibling.size, None, sibling.blob_id
    if sibling.lfs is not None:
        size, sha256, git_sha1 = sibling.lfs.size, sibling.lfs.sha256, None
    if size is None:  # a mirror may tell no more than names
        metadata = _api(reference).get_hf_file_metadata(url=url)
        size, etag = metadata.size, metadata.etag or ""
        sha256, git_sha1 = (etag if len(etag) == SHA256_DIGITS else None, etag if len(etag) == SHA1_DIGITS else None)
    return RemoteFile(
        path=name,
        url=url,
        size=size,
        sha256=reference.sha256 or sha256 if sibling.rfilename == reference.path else sha256,
        git_sha1=git_sha1,
        source="huggingface",
        private_addresses=access.private_addresses or bool(os.environ.get("HF_ENDPOINT")),
    )


def _size(sibling: RepoSibling) -> int:
    return (sibling.lfs.size if sibling.lfs is not None else sibling.size) or 0
