"""GPTQ on the processor: the writer of the other engines of folders, rounded to 4 bits, computed in 32."""

from __future__ import annotations

import json
from pathlib import Path

from localai_flask.backends.environments.samples import gptq_folder
from tests.contract import tiny_models
from tests.contract.engine import Engine, Yaml


def writer(folder: Path) -> Yaml:
    keys = tiny_models.hf_writer(folder)
    gptq_folder.quantise(folder / "writer")
    config = json.loads((folder / "writer" / "config.json").read_text())
    (folder / "writer" / "config.json").write_text(json.dumps(config | {"dtype": "float32"}))
    return keys


ENGINE = Engine(name="gptq", environment="gptq", writer=writer, own_answers="transformers")
