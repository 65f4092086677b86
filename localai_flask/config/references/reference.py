"""One reference in parts, and which names a file may get in the models folder because somebody far away says so."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath
from typing import NamedTuple

from localai_flask.config.files.listing import UNFINISHED, is_yaml

MODEL_SUFFIXES = (".gguf", ".safetensors", ".bin", ".pt", ".pth", ".ckpt", ".onnx")
"""What files with weights end in."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""What files end in that may run code when they are read."""

_SHA256 = re.compile(r"[0-9a-fA-F]{64}")
_RESERVED = re.compile(r"(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\..*)?", re.IGNORECASE)
"""Names that Windows keeps to itself; the models folder may lie on a share of it."""
_FORBIDDEN = frozenset('\\:*?"<>|')
_UNSEEN = ("Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp")
"""Unicode's categories of characters that cannot be seen, or that turn the direction of what is seen."""
MOST_NAME_BYTES, MOST_PATH_BYTES = 200, 1000
"""File systems take 255 bytes for a name; what is on its way has a longer one."""


class Reference(NamedTuple):
    """What a text names, in parts; those that a scheme does not have are ""."""

    scheme: str
    """file, huggingface, https (http too), ollama, oci or pypi."""
    repo: str = ""
    """`owner/name` on a hub, the repository in a registry, or the package of an index."""
    path: str = ""
    """The file in it, or in the models folder."""
    revision: str = ""
    """A branch, tag, commit or version; in a registry a tag, or a digest with its algorithm."""
    quantization: str = ""
    """As in `hf.co/owner/name:Q4_K_M`."""
    host: str = ""
    """The registry, with its port."""
    url: str = ""
    sha256: str = ""
    text: str = ""
    """As it was written."""

    @property
    def file_name(self) -> str:
        """The name of the file in the models folder; "" if that is known only when somebody has been asked."""
        if self.scheme == "ollama":
            return f"{self.stem}.gguf"
        return PurePosixPath(self.path).name if self.scheme != "file" else self.path

    @property
    def stem(self) -> str:
        """A name for a model that comes from here."""
        if self.scheme in ("ollama", "oci"):
            whose = self.repo if self.scheme == "ollama" else self.repo.rpartition("/")[2]
            name = whose.removeprefix("library/").replace("/", "-")
            tag = self.revision.rpartition(":")[2][:12]
            return name if tag == "latest" else f"{name}-{tag}"
        if self.path:
            return re.sub(r"-0*1-of-\d+$", "", PurePosixPath(self.path).stem)
        name = self.repo.rpartition("/")[2]
        return f"{name}-{self.quantization}" if self.quantization else name


def is_sha256(text: str) -> bool:
    return bool(_SHA256.fullmatch(text))


def find_fault(path: str) -> str:
    """Return why a name with slashes that comes from elsewhere cannot be one in the models folder; "" if it can.

    The sentence is to be put behind the name.
    """
    if path != unicodedata.normalize("NFC", path):
        return "has letters in a form that other systems write otherwise"
    if len(path.encode("utf-8", "replace")) > MOST_PATH_BYTES:
        return "is too long"
    if not path or path.startswith("/"):
        return "is no relative path"
    return next(filter(None, map(_find_fault_of_part, path.split("/"))), "")


def find_fault_of_file(path: str) -> str:
    """Return why no file from elsewhere may have this path below the models folder; "" if one may.

    The sentence is to be put behind the path, as that of `find_fault`.
    """
    place = PurePosixPath(path)
    if fault := find_fault(path):
        return fault
    if len(place.parts) == 1 and is_yaml(place):
        return "would be read as a model's configuration"
    if place.suffix.lower() in UNFINISHED:
        return f"ends in {place.suffix}, as files do that are not complete"
    return ""


def _find_fault_of_part(part: str) -> str:
    if part in ("", ".", ".."):
        return "does not lead straight down from the models folder"
    if any(unicodedata.category(each) in _UNSEEN for each in part):
        return "has characters that cannot be seen"
    seems = unicodedata.normalize("NFKC", part)
    if "/" in seems or seems in (".", "..") or not _FORBIDDEN.isdisjoint(seems):
        return "has characters that no file name should have"
    if part.startswith((".", " ", "~")) or part.endswith((".", " ")):
        return "begins or ends as only hidden or unfinished files do"
    if _RESERVED.fullmatch(seems):
        return "is kept for devices on some systems"
    if len(part.encode("utf-8")) > MOST_NAME_BYTES:
        return "is too long"
    return ""
