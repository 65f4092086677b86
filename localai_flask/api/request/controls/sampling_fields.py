"""The fields of requests that say how to sample, derived from `SamplingParams`, which declares each of them once.

All families have all of them, under the names that llama.cpp's server and LocalAI have for them.
"""

from __future__ import annotations

from collections.abc import Mapping as MappingOf
from typing import TYPE_CHECKING, Any

import marshmallow
from marshmallow import ValidationError
from msgspec import inspect

from localai_flask.api.door import auth
from localai_flask.api.request.fields import Decimal, Either, Flag, Many, Mapping, Object, RequestSchema, Text, Whole
from localai_flask.errors import AdminRequired
from localai_flask.sampling_params import LONGEST_TEXTS, MOST_TEXTS, description_of, wanted_fields

TEXT_OR_TEXTS = {"oneOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}
LORA = "Which adapters act, by the numbers of GET /lora-adapters; those that are not named do not."
NOT_BY_NUMBER = "chooses adapters for what is written; for vectors, set `lora_adapter` in a model's YAML."
NO_LIMIT, OLDER_NO_LIMIT = -1, -2
"""What stands for a `max_tokens` of "until the context is full": as in llama.cpp's server, and as in Ollama's too."""
MOST_TOKENS = "How many tokens the answer may have; -1: until the context is full."
PROMPT_ONLY = "true: nothing is written, the prompt is only brought into the cache; also 0 for llama.cpp's `n_predict`."


class Texts(Either):
    """A text, or a list of them that is bounded in number and size."""

    def _deserialize(self, value: Any, *_: Any, **__: Any) -> tuple[str, ...]:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValidationError("must be a string or a list of strings.")
        if len(texts) > MOST_TEXTS:
            raise ValidationError(f"may have at most {MOST_TEXTS:,} entries.")
        if sum(len(text.encode()) for text in texts) > LONGEST_TEXTS:
            raise ValidationError(f"may have at most {LONGEST_TEXTS:,} bytes of text.")
        if not all(texts):
            raise ValidationError("must not have an empty string.")
        return tuple(texts)


class TokenLimit(Whole):
    """A number of tokens; or -1, for as many as the context holds."""

    def __init__(self, low: int = 1, description: str = MOST_TOKENS, **kwargs: Any):
        super().__init__(OLDER_NO_LIMIT, metadata={"description": description}, **kwargs)
        self._low = low

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> int:
        limit = super()._deserialize(value, *args, **kwargs)
        if limit < OLDER_NO_LIMIT or 0 <= limit < self._low:
            advice = "" if limit else "; `prompt_only: true` only brings the prompt into the cache"
            raise ValidationError(f"must be at least {self._low}, or -1 for as many as the context holds{advice}.")
        return max(limit, NO_LIMIT)


class LogitBias(Mapping):
    """An object of biases by tokens, or a list of pairs; `false` is the lowest bias."""

    def __init__(self, **kwargs: Any):
        super().__init__(values=Decimal(-100, 100), **kwargs)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, list):
            pairs = [each for each in value if isinstance(each, list) and len(each) == 2]
            if len(pairs) < len(value) or not all(type(key) in (int, str) for key, _ in pairs):
                raise ValidationError("must be an object, or a list of pairs of a token and its bias.")
            value = {str(key): bias for key, bias in pairs}
        if isinstance(value, dict):
            value = {key: -100 if bias is False else bias for key, bias in value.items()}
        return super()._deserialize(value, *args, **kwargs)


class Scaled(RequestSchema):
    """An adapter by its number, and how strongly it acts."""

    id = Whole(0, MOST_TEXTS, required=True)
    scale = Decimal(-1000, 1000, required=True)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> tuple[int, float]:
        return data["id"], data["scale"]


def sampling_fields() -> dict[str, marshmallow.fields.Field[Any]]:
    """Make the fields, anew for each schema."""
    fields = {name: _field(name, field.type) for name, field in wanted_fields().items()}
    lora = Many(Object(Scaled), MOST_TEXTS, metadata={"description": LORA})
    return fields | {"lora": lora, "prompt_only": Flag(metadata={"description": PROMPT_ONLY})}


def _field(name: str, kind: inspect.Type) -> marshmallow.fields.Field[Any]:
    if name == "max_tokens":
        return TokenLimit()
    about: dict[str, Any] = {"metadata": {"description": description_of(name)}}
    assert isinstance(kind, inspect.Metadata)
    match kind.type:
        case inspect.BoolType():
            return Flag(**about)
        case inspect.IntType(ge=low, le=high):
            bounds = {name: value for name, value in (("low", low), ("high", high)) if value is not None}
            return Whole(**bounds, **about)  # type: ignore[arg-type]
        case inspect.FloatType(ge=low, le=high):
            assert low is not None
            assert high is not None
            return Decimal(low, high, **about)
        case inspect.VarTupleType(item_type=inspect.StrType(min_length=1)):
            return Texts(metadata={**about["metadata"], **TEXT_OR_TEXTS})
        case inspect.VarTupleType(item_type=inspect.StrType(), max_length=most):
            return Many(Text(), most or MOST_TEXTS, **about)
        case inspect.VarTupleType(item_type=inspect.IntType(ge=low, le=high), max_length=most):
            return Many(Whole(low or 0, high or 0), most or MOST_TEXTS, **about)
        case inspect.DictType():
            return LogitBias(**about)
    raise AssertionError(name)


if TYPE_CHECKING:

    class SamplingFields(RequestSchema):
        """One field for each parameter."""

else:
    SamplingFields = RequestSchema.from_dict(sampling_fields(), name="SamplingFields")


def asked_sampling(data: MappingOf[str, Any]) -> dict[str, Any]:
    """Return what a loaded request says of sampling, as `config.sampling.merge` takes it.

    Raises `AdminRequired` for adapters that its key may not use, perhaps.
    """
    asked = {name: data[name] for name in (*wanted_fields(), "lora") if name in data}
    if "lora" in asked and auth.key().model_filter is not None:
        said = "`lora` chooses among all adapters of a model, and this key may use some models only"
        raise AdminRequired(f"{said}; name an adapter that it may use in `model`.")
    if "max_tokens" in asked:
        asked["max_tokens"] = max(asked["max_tokens"], 0)
    if data.get("prompt_only") or data.get("max_tokens") == 0:
        asked |= {"prompt_only": True, "max_tokens": 1}  # an engine's 0 means "no limit"; the one token is not shown
    return asked
