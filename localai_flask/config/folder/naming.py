"""What a name stands for at one look at the models folder.

Owns the rules of naming: exact name, alias, file stem, `:latest`, and which model is made for a use. Names are compared
as they are: never as patterns, and never with the order of a hash table.
"""

from __future__ import annotations

import difflib

from localai_flask.config import references, traits
from localai_flask.config.engines.facts import facts
from localai_flask.config.folder.catalog import Catalog
from localai_flask.config.model import ModelConfig
from localai_flask.errors import ApiError, ConfigError, ModelNotFound

TEXT_USES = frozenset({"chat", "completion", "edit"})
NEEDED = {"embeddings": "embed", "rerank": "score"}
"""What a model can do that was made for a use other than text."""
SHOWN_NAMES = 5
LATEST = ":latest"
"""The tag of a model that is named without one, in Ollama's names."""
LONGEST_NAME = 200
"""Characters of an unknown name that are looked at and repeated in the error."""


def find(catalog: Catalog, name: str) -> ModelConfig | None:
    """Look a name up as it is, as a nickname, without `:latest`, as what is kept of that address, and with `:latest`.

    Raises why it cannot be used.
    """
    stored = references.stored_name(name) if "/" in name or references.is_address(name) else name
    for spelling in dict.fromkeys((name, name.removesuffix(LATEST), stored, name + LATEST)):
        if spelling in catalog.models:
            return catalog.models[spelling]
        if spelling in catalog.problems:
            raise again(catalog.problems[spelling])
        if spelling in catalog.nicknames:
            return catalog.models[catalog.nicknames[spelling]]
        if spelling in catalog.incomplete:
            raise ApiError.from_info(catalog.incomplete[spelling])
    return None


def again(problem: ConfigError) -> ConfigError:
    """Copy a kept error, because one that is raised again and again collects tracebacks."""
    return ConfigError(str(problem), param=problem.info.param)


def follow(catalog: Catalog, alias: ModelConfig) -> ModelConfig:
    """Return what an alias stands for; raise `ConfigError` if that is no model."""
    target = find(catalog, alias.alias)
    if target is None:
        names = list_some(_nearest(alias.alias, catalog))
        raise ConfigError(f"{alias.source}: `alias` names {alias.alias!r}, which is no model; the models are: {names}.")
    if target.alias:
        said = (
            f"{alias.source}: `alias` names {alias.alias!r}, itself an alias; name its target {target.alias!r} instead."
        )
        raise ConfigError(said, param="alias")
    return target


def target_of(catalog: Catalog, config: ModelConfig) -> ModelConfig:
    """Return who answers for a listed model: an alias's target, or itself where it is no alias, or leads nowhere."""
    try:
        target = find(catalog, config.alias) if config.alias else None
    except ApiError:
        return config
    return config if target is None or target.alias else target


def check_parent(catalog: Catalog, config: ModelConfig) -> None:
    """Raise `ConfigError` for an adapter whose parent is not there, is none, or is run by an engine that takes none."""
    if config.adapted_by is not None and not facts(config.backend).adapts:
        raise ConfigError(
            f"The parent {config.parent!r} of {config.name!r} runs with the {config.backend} backend, which takes no "
            "adapters of requests; choose llama-cpp or vllm, or make it a model of its own with `lora_adapter`.",
            param="parent",
        )
    if not config.parent or config.adapted_by is not None:
        return
    parent = catalog.models.get(config.parent)
    if parent is None:
        names = list_some(_nearest(config.parent, catalog))
        problem = f"which is no model; the models are: {names}"
    else:
        problem = f"itself an alias or an adapter; name {parent.alias or parent.parent!r} instead"
    raise ConfigError(f"{config.source}: `parent` names {config.parent!r}, {problem}.", param="parent")


def fits(config: ModelConfig, usecase: str) -> bool:
    """Return whether a model is made for a use, as far as is known of one that is not loaded."""
    declared = {use.lower().removeprefix("flag_") for use in config.known_usecases}
    if "llm" in declared:
        declared |= TEXT_USES
    if usecase in declared:
        return True
    if usecase in TEXT_USES:
        is_for_text = not declared or bool(declared & TEXT_USES)
        return is_for_text and not config.embeddings and "generate" in traits.capabilities(config)
    if {"embeddings": config.embeddings, "rerank": config.reranking, "tokenize": True}.get(usecase):
        return True
    able = traits.capabilities(config)
    return NEEDED.get(usecase) in able and "generate" not in able


def not_found(name: str, catalog: Catalog) -> ModelNotFound:
    """Make the error of a name that stands for nothing; it names those that are most alike."""
    known = list_some(_nearest(name, catalog))
    advice = f"the models: {known}" if known else "the models, and there are none yet"
    shown = name if len(name) <= LONGEST_NAME else name[:LONGEST_NAME] + "…"
    return ModelNotFound(f"There is no model {shown!r}. GET /v1/models lists {advice}.", param="model")


def _nearest(name: str, catalog: Catalog) -> list[str]:
    return difflib.get_close_matches(name[:LONGEST_NAME], catalog.models, n=SHOWN_NAMES + 1, cutoff=0.0)


def list_some(names: list[str]) -> str:
    """List a few names, and whether there are more."""
    return ", ".join(names[:SHOWN_NAMES]) + (", …" if len(names) > SHOWN_NAMES else "")
