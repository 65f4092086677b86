from collections.abc import Iterator

import pytest

from localai_flask.gallery import starter
from tests.support.real_models import fetch_smollm2
from tests.support.server import Server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """SmolLM2, whose chat template knows no tools, as the starter has it."""
    models, smollm2 = tmp_path_factory.mktemp("models"), fetch_smollm2()
    (models / smollm2.name).symlink_to(smollm2)
    (models / "smollm2.yaml").write_text(starter.YAML)
    with Server(models, tmp_path_factory.mktemp("server"), LOCALAI_LOAD_TO_MEMORY=starter.NAME) as server:
        yield server
