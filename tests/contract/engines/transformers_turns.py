"""transformers with a model that takes turns, as the library cannot batch it."""

from tests.contract import tiny_models
from tests.contract.engine import Engine

ENGINE = Engine(
    name="transformers-turns",
    backend="transformers",
    own_answers="transformers",
    writer=tiny_models.hf_recurrent_writer,
)
