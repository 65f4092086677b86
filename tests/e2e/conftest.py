from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from playwright.sync_api import Browser

from localai_flask.gallery import starter
from tests.support.browser import Visitor, running_browser
from tests.support.real_models import fetch_smollm2
from tests.support.server import Server, Start

MODELS = Path(__file__).resolve().parents[2] / "models"
ECHO = """\
name: echo
backend: echo
options: [scripted, "slots:64"]
"""
SINGLE = "name: {name}\nbackend: echo\noptions: [scripted, 'slots:1']\n"

THINKING = """\
name: thinking
parameters: {model: demo.gguf, temperature: 0}
context_size: 512
template:
  chat: "{{.Input}}<|im_start|>assistant\\n<think>\\n"
  chat_message: "<|im_start|>{{.RoleName}}\\n{{.Content}}<|im_end|>\\n"
"""


@pytest.fixture(scope="session")
def models_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with the demo model, a scripted echo model, and some that cannot work."""
    path = tmp_path_factory.mktemp("models")
    (path / "demo.gguf").symlink_to(MODELS / "demo.gguf")
    (path / "demo.yaml").write_text((MODELS / "demo.yaml").read_text())
    (path / "bare.gguf").symlink_to(MODELS / "demo.gguf")
    (path / "echo.yaml").write_text(ECHO)
    (path / "org-echo.yaml").write_text(ECHO.replace("name: echo", "name: org/echo"))
    (path / "thinking.yaml").write_text(THINKING)
    (path / "brief.yaml").write_text(THINKING.replace("thinking", "brief") + "reasoning: {budget: 6}\n")
    (path / "single.yaml").write_text(SINGLE.format(name="single"))
    (path / "roomy.yaml").write_text(
        "name: roomy\nbackend: echo\ncontext_size: 400000\noptions: [scripted, 'slots:1']\n"
    )
    (path / "garbage.gguf").write_bytes(b"<html>not found</html>" * 100)
    (path / "truncated.gguf").write_bytes((MODELS / "demo.gguf").read_bytes()[:500_000])
    (path / "missing.yaml").write_text("name: missing\nparameters: {model: nowhere.gguf}\n")
    (path / "broken.yaml").write_text("name: broken\n  backend: [\n")
    (path / "typo.yaml").write_text("name: typo\nbackend: echo\nparameters: {temperature: hot}\n")
    return path


@pytest.fixture
def start(models_path: Path, tmp_path: Path) -> Iterator[Start]:
    """Starts servers that share their state and stops them, the newest first."""
    servers: list[Server] = []

    def start(**environment: str) -> Server:
        scratch = tmp_path / str(len(servers))
        scratch.mkdir()
        common = {"XDG_STATE_HOME": str(tmp_path / "state"), "LOCALAI_LOAD_TO_MEMORY": "echo"}
        server = Server(models_path, scratch, **{**common, "LOCALAI_GRACEFUL_TIMEOUT": "3", **environment})
        servers.append(server.__enter__())
        return server

    yield start
    for server in reversed(servers):
        server.__exit__(None, None, None)


@pytest.fixture(scope="session")
def server(models_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests that do not harm it."""
    with Server(
        models_path, tmp_path_factory.mktemp("server"), LOCALAI_LOAD_TO_MEMORY="demo", LOCALAI_DEFAULT_MODEL="demo"
    ) as server:
        yield server


@pytest.fixture(scope="session")
def smollm2_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of a small real model, for what the demo model is too small for."""
    models, smollm2 = tmp_path_factory.mktemp("models"), fetch_smollm2()
    (models / smollm2.name).symlink_to(smollm2)
    (models / "smollm2.yaml").write_text(starter.YAML)
    with Server(models, tmp_path_factory.mktemp("smollm2"), LOCALAI_LOAD_TO_MEMORY=starter.NAME) as server:
        yield server


@pytest.fixture
def own_server(models_path: Path, tmp_path: Path) -> Iterator[Server]:
    """A server that the test may harm."""
    with Server(models_path, tmp_path, LOCALAI_LOAD_TO_MEMORY="echo", LOCALAI_GRACEFUL_TIMEOUT="6") as server:
        yield server


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A browser; no longer than a module, as Playwright's event loop keeps others from running meanwhile."""
    with running_browser() as browser:
        yield browser


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Visitor]:
    """Somebody who opens the page for the first time."""
    with Visitor(browser) as visitor:
        yield visitor
