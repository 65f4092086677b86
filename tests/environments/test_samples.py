"""The tiny models with which environments are tried can be loaded, and the trial finds what is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from localai_flask.backends.environments.recipe import TRIAL
from localai_flask.backends.environments.samples import FILE

SAMPLES = "localai_flask.backends.environments.samples"


def run_module(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", module, *arguments], capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize(("sample", "engine"), [("gguf_file", "llama-cpp"), ("llama_folder", "transformers")])
def test_the_engine_generates_with_it(sample: str, engine: str, tmp_path: Path) -> None:
    assert run_module(f"{SAMPLES}.{sample}", str(tmp_path)).returncode == 0
    tried = run_module(TRIAL, engine, str(tmp_path))
    assert tried.returncode == 0, tried.stderr


def test_what_an_engine_cannot_load_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"parameters": {"model": "absent.gguf"}}))
    tried = run_module(TRIAL, "llama-cpp", str(tmp_path))
    assert tried.returncode == 1 and "absent.gguf" in tried.stderr.splitlines()[-1]


def test_an_engine_that_refuses_the_prompt_is_no_success(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(json.dumps({"context_size": 1}))
    tried = run_module(TRIAL, "echo", str(tmp_path))
    assert tried.returncode == 1 and "maximum context length is 1 tokens" in tried.stderr.splitlines()[-1]
