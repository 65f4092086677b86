"""References to a file inside a wheel of a Python package index: `pypi://PACKAGE==VERSION/PATH`."""

from __future__ import annotations

import re

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from localai_flask.config.references.reference import Reference, find_fault

_PACKAGE = re.compile(r"(?P<package>[^/=#]+)==(?P<version>[^/=#]+)/(?P<path>[^#]+)")


def parse(rest: str) -> Reference:
    """Read what stands behind the scheme."""
    found = _PACKAGE.fullmatch(rest)
    if found is None:
        raise ValueError("is not of the form pypi://PACKAGE==VERSION/PATH, with #sha256=… behind it if you know it")
    package, version, path = found["package"], found["version"], found["path"]
    try:
        canonicalize_name(package, validate=True)
        Version(version)
    except InvalidVersion:
        raise ValueError(f"names {version!r}, which is no version of a package") from None
    except ValueError:
        raise ValueError(f"names {package!r}, which is no name of a package") from None
    if fault := find_fault(path):
        raise ValueError(f"names {path!r}, which is no path inside a package: it {fault}")
    return Reference("pypi", str(canonicalize_name(package)), path, version)
