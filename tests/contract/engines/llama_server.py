"""llama.cpp's own server, where it has been built."""

import os

from tests.contract import tiny_models
from tests.contract.engine import Engine
from tests.contract.engines.llama_cpp import smollm2
from tests.support.llama_server import VARIABLE, need_llama_server

ENGINE = Engine(
    name="llama-server",
    writer=tiny_models.gguf_writer,
    seer=tiny_models.gguf_seer,
    embedder=tiny_models.gguf_embedder,
    ranker=tiny_models.gguf_ranker,
    real_writer=smollm2,
    own_answers="llama_cpp",
    need=need_llama_server,
    settings={name: os.environ[name] for name in [VARIABLE] if name in os.environ},
    tie=0.05,
    real_tie=0.8,
    real_tie_alone=0.3,
)
