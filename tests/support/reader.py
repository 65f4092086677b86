"""A reader of the documentation who types its commands, with a home, a checkout and folders of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests.support import gguf_encoders

ROOT = Path(__file__).parents[2]
TOY = ROOT / "models" / "demo.gguf"
CHECKOUT = ("Makefile", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "deploy", "localai_flask", "models")
SCRIPTS = {
    "localai-flask": '[ "$1" = serve ] && shift && exec "{python}" -m tests.support.brief_server "$@"\n'
    'exec "{python}" -m localai_flask "$@"',
    "python3": 'exec "{python}" "$@"',
    "pip": 'command=$1; shift; exec "{python}" -m pip "$command" --no-build-isolation "$@"',  # what builds is installed
}
MISSPELT_YAML = """\
name: bee
backend: llama-cpp
contxt_size: 4096
threads: 2
parameters:
  model: demo.gguf
  temperature: 0
options:
- paralel:4
"""
LOCALAI_YAML = """\
name: luna
backend: llama
context_size: 1024
f16: true
parameters: {model: luna.Q4_0.bin, temperature: 0.2, top_k: 80, top_p: 0.7}
roles: {user: "USER:", assistant: "ASSISTANT:"}
template: {chat: luna-chat}
"""


class Reader:
    """Where pages name folders that tests cannot have, `places` says what is there instead."""

    def __init__(self, root: Path):
        self.home = root / "home"
        self.models = self.home / ".local/share/localai-flask/models"
        self._made: list[tuple[str, int, int]] | None = None
        """What the models folder had when it was made."""
        self.checkout = root / "localai-flask"
        self.places = {
            "/path/to/localai/models": str(_localai_folder(root / "localai")),
            "/srv/models": str(_models_folder(root / "srv")),
            "http://127.0.0.1:8080": "",
        }
        (root / "srv/bee.yaml").write_text(MISSPELT_YAML)
        scripts = root / "bin"
        runtime = root / "run"
        for folder in (self.home, scripts, runtime):
            folder.mkdir()
        for name, text in SCRIPTS.items():
            (scripts / name).write_text(f"#!/bin/sh\n{text.format(python=sys.executable)}\n")
            (scripts / name).chmod(0o755)
        self.environment = {
            "HOME": str(self.home),
            "PATH": f"{scripts}:{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "XDG_RUNTIME_DIR": str(runtime),
            "PIP_NO_INDEX": "1",
        }

    def translate(self, text: str) -> str:
        """Put what is there in place of what pages name."""
        for place, instead in self.places.items():
            text = text.replace(place, instead)
        return text

    def run(self, text: str) -> subprocess.CompletedProcess[str]:
        """Run lines of a shell in the checkout; the first that fails ends them."""
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", self.translate(text)],
            cwd=self.checkout,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )

    def begin_anew(self) -> None:
        """Make the models folder anew, and the checkout with an environment in it and a file such as people fetch.

        A folder that nobody has changed stays, as a server needs a moment for files that are new.
        """
        if self._made is None or _listing(self.models) != self._made:
            shutil.rmtree(self.models, ignore_errors=True)
            _models_folder(self.models)
            self._made = _listing(self.models)
        shutil.rmtree(self.checkout, ignore_errors=True)
        for name in CHECKOUT:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, self.checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                self.checkout.mkdir(exist_ok=True)
                shutil.copy(source, self.checkout)
        venv.create(self.checkout / ".venv", symlinks=True)
        shutil.copy(TOY, self.checkout / "Qwen3-4B-Q4_K_M.gguf")

    def add_ollama(self, path: str, has_weights: bool = True) -> None:
        """Have Ollama's folder hold a model, by its manifest's path."""
        digest = "sha256:" + "0" * 64
        folder = self.home / ".ollama/models"
        manifest = folder / "manifests" / path
        manifest.parent.mkdir(parents=True, exist_ok=True)
        kinds = ["application/vnd.ollama.image.template", "application/vnd.ollama.image.model"][: 1 + has_weights]
        layers = [{"mediaType": kind, "digest": digest.replace("0", str(at))} for at, kind in enumerate(kinds)]
        manifest.write_text(json.dumps({"schemaVersion": 2, "layers": layers}))
        for layer in layers:
            blob = folder / "blobs" / layer["digest"].replace(":", "-")
            if not blob.exists():
                blob.parent.mkdir(exist_ok=True)
                blob.symlink_to(TOY if layer["mediaType"].endswith("model") else os.devnull)


def _models_folder(folder: Path) -> Path:
    folder.mkdir(parents=True)
    shutil.copy(TOY, folder)
    shutil.copy(TOY.with_suffix(".yaml"), folder)
    gguf_encoders.random_bert(folder / "reranker.gguf", pooling=4, classes=1)
    return folder


def _listing(folder: Path) -> list[tuple[str, int, int]]:
    """List the files of a folder, with what tells whether they have changed."""
    found = [(path, path.lstat()) for path in folder.rglob("*")]
    return sorted((str(path), stat.st_size, stat.st_mtime_ns) for path, stat in found if not path.is_dir())


def _localai_folder(folder: Path) -> Path:
    """Make a models folder as LocalAI's users have them."""
    folder.mkdir()
    shutil.copy(TOY, folder / "luna.Q4_0.bin")
    (folder / "luna.yaml").write_text(LOCALAI_YAML)
    (folder / "luna-chat.tmpl").write_text("{{.Input}}\nASSISTANT:")
    return folder
