"""The blocks of a model's YAML: its sampling defaults, templates, thinking, limits, downloads and proxy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta

from localai_flask.sampling_params import OWN_FORM, wanted_types

NotBelowZero = Annotated[float, Meta(ge=0)]
Duration = Annotated[float, Meta(ge=-1, extra={"is_duration": True})]
NotNegative = Annotated[int, Meta(ge=0)]
Positive = Annotated[int, Meta(ge=1)]


class ModelFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What of `parameters:` an engine is loaded from."""

    model: str = ""
    tokenizer: str = ""
    """The file or folder of another tokenizer than the model's own."""


if TYPE_CHECKING:

    class SamplingDefaults(ModelFile, frozen=True, kw_only=True, omit_defaults=True):
        """One key for each of `SamplingParams`' that has a description."""

        def __getattr__(self, name: str) -> Any: ...

else:
    SamplingDefaults = msgspec.defstruct(
        "SamplingDefaults",
        [(name, kind | None, None) for name, kind in wanted_types().items() if name not in OWN_FORM],
        bases=(ModelFile,),
        frozen=True,
        kw_only=True,
        omit_defaults=True,
    )


class Parameters(SamplingDefaults, frozen=True, kw_only=True, omit_defaults=True):
    """`parameters:` the model file and the sampling defaults that a request may override (None: the house default).

    The ranges, which are those of `SamplingParams`, hold for YAML and for requests alike.
    """

    logit_bias: dict[Annotated[str, Meta(pattern=r"^(?!-[0-9]+$)[\s\S]")], Annotated[float, Meta(ge=-100, le=100)]] = {}
    """By token ids, or by texts whose tokens are meant."""
    echo: bool = False
    n: Positive = 1


class Template(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`template:` prompt templates; none given means the model's own chat template."""

    chat: str = ""
    chat_message: str = ""
    completion: str = ""
    edit: str = ""
    function: str = ""
    multimodal: str = ""
    reply_prefix: str = ""
    use_tokenizer_template: bool = False
    join_chat_messages_by_character: str | None = None


class ThinkingTags(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry of `reasoning.tag_pairs:` the marks before and behind a model's thinking."""

    start: Annotated[str, Meta(pattern=r"^\S")]
    end: Annotated[str, Meta(pattern=r"^\S")]


class ReasoningOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`reasoning:` whether a model thinks, and how its thinking is told from its answer."""

    disable: bool | None = None
    disable_reasoning_tag_prefill: bool = False
    strip_reasoning_only: bool = False
    thinking_start_tokens: tuple[Annotated[str, Meta(pattern=r"^\S")], ...] = ()
    tag_pairs: tuple[ThinkingTags, ...] = ()
    budget: Annotated[int, Meta(ge=-1)] | None = None
    """How many tokens a request may think that does not say it itself; -1: no limit."""


class Limits(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`limits:` how many requests a model takes at once (0: no limit), and when the refused ones may come back."""

    max_concurrent: NotNegative = 0
    retry_after_seconds: NotNegative = 1


class DownloadFile(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An entry of `download_files:` a file that the model needs, relative to the models folder, and its origin."""

    filename: str
    uri: str = ""
    sha256: str = ""


class ProxyOptions(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """`proxy:` a server elsewhere that answers for a model, and where its key is found, which stands in no YAML."""

    upstream_url: str = ""
    upstream_model: str = ""
    """The model's name there, if it is another than `parameters.model` and this one's."""
    provider: str = ""
    mode: str = ""
    api_key_env: str = ""
    """The environment variable that has the key."""
    api_key_file: str = ""
    request_timeout_seconds: NotBelowZero = 0
    """How long the server may say nothing; 0: five minutes."""
