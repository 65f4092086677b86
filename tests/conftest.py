"""What holds for all tests: property tests have no deadline, and nobody's own models are in sight."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from localai_flask.config.files.settling import Settling

# Figures of memory are those of the processor. `CUDA_VISIBLE_DEVICES=0 make test` tries a card all the
# same: what counts the host's memory fails there.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

# What a test computes is not there for the next one, unless it asks for that.
os.environ["LOCALAI_PROMPT_CACHE_SIZE"] = "0"

# A shell's background job is started with Ctrl-C ignored, and what tests start would inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("here", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("here")


@pytest.fixture(scope="session", autouse=True)
def no_models_of_the_user(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Keep away what `make serve` has put into the user's models folder, the default of whoever names none."""
    folder = tmp_path_factory.mktemp("data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session", autouse=True)
def files_are_whole() -> Iterator[None]:
    """Let files that tests have just written count as whole, in this process; servers of tests wait as all do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Settling, "quiet_s", 0.0)
        patch.setattr(Settling, "patience_s", 0.0)
        yield


def pytest_unconfigure() -> None:
    """Close what llama-cpp-python opens with its import, and leaves to the end of the process to warn of."""
    if silence := sys.modules.get("llama_cpp._utils"):
        silence.outnull_file.close()
        silence.errnull_file.close()
