"""The parts of the library that it keeps to itself and that the engine builds on, in the version that is pinned."""

from __future__ import annotations

import configparser
import importlib
import inspect
from importlib.metadata import version
from pathlib import Path

import pytest

pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from packaging.requirements import Requirement  # noqa: E402

ROOT = Path(__file__).parents[2]
BATCHES = "transformers.generation.continuous_batching"
PRIVATE = [
    ("transformers", "PreTrainedModel.is_backend_compatible", set()),
    ("transformers", "PreTrainedModel._is_stateful", None),
    ("transformers", "GenerationMixin._prepare_cache_for_generation", {"generation_config", "model_kwargs"}),
    ("transformers", "GenerationMixin._update_model_kwargs_for_generation", {"outputs", "is_encoder_decoder"}),
    ("transformers", "GenerationMixin.prepare_inputs_for_generation", {"next_sequence_length", "is_first_iteration"}),
    ("transformers", "GenerationMixin.init_continuous_batching", {"continuous_batching_config"}),
    (f"{BATCHES}.cache", "group_layers_by_attn_type", {"config"}),
    (f"{BATCHES}.continuous_api", "ContinuousBatchingManager.add_request", {"request_id", "streaming", "eos_token_id"}),
    (f"{BATCHES}.continuous_api", "ContinuousBatchingManager.cancel_request", {"request_id"}),
    (f"{BATCHES}.continuous_api", "ContinuousBatchingManager.get_result", {"timeout"}),
    (f"{BATCHES}.continuous_api", "ContinuousBatchingManager.warmup", set()),
    (f"{BATCHES}.continuous_api", "ContinuousBatchingManager.stop", {"hard_stop"}),
    (f"{BATCHES}.cb_logits_processors", "ContinuousBatchingLogitsProcessorList.prepare_tensor_args", set()),
    ("transformers.models.auto.configuration_auto", "CONFIG_MAPPING", None),
    ("transformers.models.auto.modeling_auto", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES", None),
    ("transformers.models.auto.modeling_auto", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES", None),
]


@pytest.mark.parametrize(("module", "path", "parameters"), PRIVATE, ids=lambda value: str(value))
def test_the_library_has_what_the_engine_builds_on(module: str, path: str, parameters: set[str] | None) -> None:
    found = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    if parameters is not None:
        assert parameters <= set(inspect.signature(found).parameters)


def test_no_other_minor_version_is_installed_than_was_tried() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    lines = [line for line in setup["options.extras_require"]["transformers"].splitlines() if line[:1] not in ("", "#")]
    wanted = next(each for each in map(Requirement, lines) if each.name == "transformers")
    here = version("transformers")
    assert here in wanted.specifier
    major, minor = here.split(".")[:2]
    assert f"{major}.{int(minor) + 1}.0" not in wanted.specifier
    for path in (ROOT / "localai_flask/backends/environments/requirements").glob("transformers-*.txt"):
        (pinned,) = (line for line in path.read_text().splitlines() if line.startswith("transformers=="))
        assert pinned.removeprefix("transformers==") in wanted.specifier
