"""Wheels of installed packages, and of small ones that are made up, for installations without a network."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path

from tests.support.package_index import make_wheel


def repack(package: str, folder: Path) -> Path:
    """Put an installed package into a wheel again."""
    found = importlib.metadata.distribution(package)
    members = {
        str(file): file.locate().read_bytes()
        for file in found.files or ()
        if ".." not in file.parts and "__pycache__" not in file.parts and file.name != "RECORD"
    }
    about = next(name for name in members if name.endswith(".dist-info/METADATA"))
    tags = [line[5:] for line in members[about.replace("METADATA", "WHEEL")].decode().splitlines() if "Tag: " in line]
    return _write(folder, package, found.version, members, tags[0], about.removesuffix("/METADATA"))


def make_package(name: str, version: str, modules: Mapping[str, str], folder: Path) -> Path:
    """Make a package of these modules."""
    about = f"{name}-{version}.dist-info"
    members = {file: text.encode() for file, text in modules.items()}
    members[f"{about}/METADATA"] = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n".encode()
    members[f"{about}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    return _write(folder, name, version, members, "py3-none-any", about)


def _write(folder: Path, name: str, version: str, members: dict[str, bytes], tag: str, about: str) -> Path:
    lines = [f"{file},sha256={_digest(content)},{len(content)}" for file, content in members.items()]
    record = "\n".join([*lines, f"{about}/RECORD,,", ""])
    wheel = folder / f"{name.replace('-', '_')}-{version}-{tag}.whl"
    wheel.write_bytes(make_wheel({**members, f"{about}/RECORD": record.encode()}))
    return wheel


def _digest(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
