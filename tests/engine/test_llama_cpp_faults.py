"""A library whose kernels for repacked weights fault, as those for AMX do when GCC 12 has compiled them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from localai_flask.config.blocks import Parameters
from localai_flask.config.model import ModelConfig
from tests.support.gguf_models import random_llama
from tests.support.pool import Pool, ask, whole

pytest.importorskip("llama_cpp")

FAULTY = """
import os, signal, sys
if {"localai_flask.pool.worker", "localai_flask.diagnosis.trial"} & {*sys.orig_argv}:
    from llama_cpp import llama_cpp as lib
    load = lib.llama_model_load_from_file
    def load_or_fault(path, params):
        if params.use_extra_bufts:
            os.kill(os.getpid(), signal.SIGILL)
        return load(path, params)
    lib.llama_model_load_from_file = load_or_fault
"""


def path_with(folder: Path) -> str:
    return os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))


def test_a_model_is_served_without_repacked_weights_where_they_fault(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAULTY)
    random_llama(tmp_path / "model.gguf")
    config = ModelConfig(
        name="model", backend="llama-cpp", models_path=str(tmp_path), parameters=Parameters(model="model.gguf")
    )
    pool = Pool(tmp_path, PYTHONPATH=path_with(tmp_path))
    try:
        session = pool.session(config)
        assert whole(ask(session, "abc", max_tokens=3))[1].usage.completion_tokens == 3
        assert "repacked weights" in session.info.given_up
    finally:
        pool.close()


def test_a_model_keeps_its_repacked_weights_where_they_work(tmp_path: Path) -> None:
    random_llama(tmp_path / "model.gguf")
    config = ModelConfig(
        name="model", backend="llama-cpp", models_path=str(tmp_path), parameters=Parameters(model="model.gguf")
    )
    pool = Pool(tmp_path)
    try:
        assert pool.session(config).info.given_up == ""
    finally:
        pool.close()


def doctor(model: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "localai_flask", "doctor", "--try", str(model)]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


def test_the_doctor_tells_such_a_fault_from_a_working_engine(tmp_path: Path) -> None:
    model = random_llama(tmp_path / "model.gguf")
    works = doctor(model)
    assert works.returncode == 0 and "It decodes with model.gguf" in works.stdout and "RPC" not in works.stdout
    (tmp_path / "sitecustomize.py").write_text(FAULTY)
    faults = doctor(model, PYTHONPATH=path_with(tmp_path))
    assert faults.returncode == 0 and "killed by SIGILL" in faults.stdout and "decodes with" in faults.stdout
    assert "but not without repacked weights" in faults.stdout and "GPU=portable" in faults.stdout
    (tmp_path / "sitecustomize.py").write_text(FAULTY.replace("params.use_extra_bufts", "True"))
    dies = doctor(model, PYTHONPATH=path_with(tmp_path))
    assert dies.returncode == 1 and "also without repacked weights" in dies.stdout


def test_the_doctor_says_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    (tmp_path / "model.gguf").write_text("nothing")
    done = doctor(tmp_path / "model.gguf")
    assert done.returncode == 1 and "not a GGUF file" in done.stdout and "GPU=" not in done.stdout
