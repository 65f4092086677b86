"""The programs that people point at such a server, each with nothing but base URL, key and model.

`{url}`, `{home}`, `{project}`, `{folder}` and `{question}` stand for what a run puts there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

MODEL = "coder"
SCRIPTS = Path(__file__).parent / "scripts"


@dataclass(frozen=True, kw_only=True)
class Program:
    """One of them: where it comes from, how it is set up, and how it is asked."""

    name: str
    packages: tuple[str, ...]
    is_npm: bool = False
    setup: tuple[str, ...] = ()
    """A command to be run in the folder of its packages, which install scripts would run where npm lets them."""
    files: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    ask: tuple[str, ...]
    ask_again: tuple[str, ...] = ()
    """How the second question of a conversation is asked, where that is possible from the command line."""


CODEX = """\
model = "coder"
model_provider = "local"

[model_providers.local]
name = "local"
base_url = "{url}/v1"
wire_api = "responses"
env_key = "LOCAL_KEY"
"""

OPENCODE = """\
{
  "provider": {
    "local": {
      "npm": "@ai-sdk/openai-compatible",
      "options": {"baseURL": "{url}/v1", "apiKey": "key"},
      "models": {"coder": {"name": "coder"}}
    }
  },
  "model": "local/coder"
}
"""

CONTINUE = """\
name: local
version: 1.0.0
models:
  - name: coder
    provider: openai
    model: coder
    apiBase: {url}/v1
    apiKey: key
"""

LLM = """\
- model_id: coder
  model_name: coder
  api_base: {url}/v1
  supports_tools: true
"""

OPENAI = {"OPENAI_BASE_URL": "{url}/v1", "OPENAI_API_KEY": "key"}
BIN = "{folder}/bin"
NODE = "{folder}/node_modules/.bin"

PROGRAMS = (
    Program(
        name="codex",
        packages=("@openai/codex",),
        is_npm=True,
        files={"{home}/.codex/config.toml": CODEX},
        environment={"LOCAL_KEY": "key"},
        ask=(f"{NODE}/codex", "exec", "--dangerously-bypass-approvals-and-sandbox", "{question}"),
        ask_again=(f"{NODE}/codex", "exec", "resume", "--last", "{question}"),
    ),
    Program(
        name="claude",
        packages=("@anthropic-ai/claude-code",),
        is_npm=True,
        setup=("node", "node_modules/@anthropic-ai/claude-code/install.cjs"),
        environment={"ANTHROPIC_BASE_URL": "{url}", "ANTHROPIC_API_KEY": "key"},
        ask=(f"{NODE}/claude", "--model", MODEL, "--permission-mode", "acceptEdits", "-p", "{question}"),
        ask_again=(f"{NODE}/claude", "--model", MODEL, "-c", "-p", "{question}"),
    ),
    Program(
        name="opencode",
        packages=("opencode-ai",),
        is_npm=True,
        setup=("node", "node_modules/opencode-ai/postinstall.mjs"),
        files={"{project}/opencode.json": OPENCODE},
        ask=(f"{NODE}/opencode", "run", "{question}"),
        ask_again=(f"{NODE}/opencode", "run", "-c", "{question}"),
    ),
    Program(
        name="continue",
        packages=("@continuedev/cli",),
        is_npm=True,
        files={"{home}/config.yaml": CONTINUE},
        ask=(f"{NODE}/cn", "--config", "{home}/config.yaml", "--auto", "-p", "{question}"),
    ),
    Program(
        name="aider",
        packages=("aider-chat",),
        environment={"OPENAI_API_BASE": "{url}/v1", "OPENAI_API_KEY": "key"},
        ask=(f"{BIN}/aider", "--model", f"openai/{MODEL}", "--yes-always", "--message", "{question}", "hello.py"),
    ),
    Program(
        name="llm",
        packages=("llm",),
        files={"{home}/llm/extra-openai-models.yaml": LLM},
        environment={"LLM_USER_PATH": "{home}/llm", "OPENAI_API_KEY": "key"},
        ask=(f"{BIN}/llm", "-m", MODEL, "--functions", f"{SCRIPTS}/edit_file.py", "{question}"),
    ),
    Program(
        name="openai-agents",
        packages=("openai-agents",),
        environment={**OPENAI, "OPENAI_AGENTS_DISABLE_TRACING": "1"},
        ask=(f"{BIN}/python", f"{SCRIPTS}/openai_agents.py", "{question}"),
    ),
    Program(
        name="llama-index",
        packages=("llama-index-llms-openai-like",),
        environment=OPENAI,
        ask=(f"{BIN}/python", f"{SCRIPTS}/llama_index_agent.py", "{question}"),
    ),
    Program(
        name="pydantic-ai",
        packages=("pydantic-ai-slim[openai,anthropic]",),
        environment={**OPENAI, "ANTHROPIC_BASE_URL": "{url}", "ANTHROPIC_API_KEY": "key"},
        ask=(f"{BIN}/python", f"{SCRIPTS}/pydantic_agent.py", "{question}"),
    ),
    Program(
        name="litellm",
        packages=("litellm",),
        environment={**OPENAI, "ANTHROPIC_BASE_URL": "{url}", "ANTHROPIC_API_KEY": "key"},
        ask=(f"{BIN}/python", f"{SCRIPTS}/litellm_agent.py", "{question}"),
    ),
)
