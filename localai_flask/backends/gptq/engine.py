"""The transformers engine on folders that are quantised by GPTQ."""

from __future__ import annotations

from msgspec import structs

from localai_flask.backends.base import LoadProgress
from localai_flask.backends.gptq.folder import readable_folder
from localai_flask.backends.gptq.key_checks import check, of_transformers
from localai_flask.backends.notes import heed
from localai_flask.backends.transformers.engine import TransformersBackend
from localai_flask.config.model import EngineConfig
from localai_flask.generation import ModelInfo


class GptqBackend(TransformersBackend):
    """Differs in how the folder is found; the library computes with GPTQModel's kernels where a folder says so."""

    def load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
        heed(check(config), config)
        with readable_folder(config) as folder:
            model = structs.replace(config.parameters, model=folder.name)
            place = structs.replace(of_transformers(config), models_path=str(folder.parent), parameters=model)
            info = super().load(place, progress)
        return structs.replace(info, backend="gptq")
