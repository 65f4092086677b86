"""What a sentence-transformers folder says of how hidden states become a vector; knows no library that computes it.

https://sbert.net/docs/sentence_transformer/usage/custom_models.html: `modules.json` names a folder and a type for each.
"""

from __future__ import annotations

from pathlib import Path

from localai_flask.config.files.bounded import read_json, read_json_value
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ConfigError

POOLING = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_lasttoken": "last"}
"""The keys of a pooling module that can be honoured; newer ones say `pooling_mode` and a word."""
WORDS = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}


def list_modules(folder: Path) -> list[tuple[str, str]]:
    """Return each module's folder and the last word of its type."""
    path = folder / "modules.json"
    if not path.exists():
        return [("1_Pooling", "Pooling")] if (folder / "1_Pooling" / "config.json").exists() else []
    listed = read_json_value(path)
    modules = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    return [(str(each.get("path", "")), str(each.get("type", "")).rpartition(".")[2]) for each in modules]


def read_pooling(config: EngineConfig, path: Path) -> str:
    """Return how vectors of tokens become one; raise `ConfigError` if no engine here does it so."""
    described = read_json(path)
    wanted = [key for key, value in described.items() if key.startswith("pooling_mode_") and value is True]
    if isinstance(word := described.get("pooling_mode"), str):
        wanted = [WORDS.get(word, f"pooling_mode_{word}")]
    if len(wanted) != 1 or wanted[0] not in POOLING:
        raise ConfigError(
            f"Model {config.name}: {path} asks for {', '.join(wanted) or 'no pooling'}, but the {config.backend} "
            f"backend needs one of: {', '.join(POOLING)}."
        )
    return POOLING[wanted[0]]


def read_prompt(folder: Path) -> str:
    """Return the text that sentence-transformers puts before each other one, if nobody says otherwise."""
    path = folder / "config_sentence_transformers.json"
    described = read_json(path) if path.exists() else {}
    prompts, name = described.get("prompts"), described.get("default_prompt_name")
    prompt = prompts.get(name) if isinstance(prompts, dict) and name else ""
    return prompt if isinstance(prompt, str) else ""
