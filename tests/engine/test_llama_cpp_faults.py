"""A library whose kernels for repacked weights fault, as those for AMX do when GCC 12 has compiled them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from localai_flask.config.model import ModelConfig, Parameters
from tests.support.gguf_models import random_llama
from tests.support.pool import Pool, ask, whole

pytest.importorskip("llama_cpp")

FAULTY = """
import os, signal, sys
if "localai_flask.pool.worker" in sys.orig_argv:
    from llama_cpp import llama_cpp as lib
    load = lib.llama_model_load_from_file
    def load_or_fault(path, params):
        if params.use_extra_bufts:
            os.kill(os.getpid(), signal.SIGILL)
        return load(path, params)
    lib.llama_model_load_from_file = load_or_fault
"""


def test_a_model_is_served_without_repacked_weights_where_they_fault(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(FAULTY)
    random_llama(tmp_path / "model.gguf")
    config = ModelConfig(
        name="model", backend="llama-cpp", models_path=str(tmp_path), parameters=Parameters(model="model.gguf")
    )
    path = os.pathsep.join(filter(None, (str(tmp_path), os.environ.get("PYTHONPATH"))))
    pool = Pool(tmp_path, PYTHONPATH=path)
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
