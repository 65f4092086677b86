"""What a server elsewhere is asked for a job, in the words of OpenAI's API, and further ones where it knows them."""

from __future__ import annotations

from typing import Any

import msgspec

from localai_flask.backends.base import Job
from localai_flask.backends.cloud_proxy.conversation import read_conversation
from localai_flask.errors import UnsupportedParameter
from localai_flask.generation import Constraint
from localai_flask.sampling_params import SamplingParams

TAKEN = frozenset(
    (
        *("min_p", "frequency_penalty", "presence_penalty", "logit_bias", "top_logprobs", "preserved"),
        *("t_max_predict_ms", "include_stop_str_in_output"),
    )
)
FURTHER = ("top_k", "min_p")
"""Parameters that OpenAI's own API has not, and that llama.cpp, vLLM, SGLang and this server take."""
CONSTRAINTS = frozenset(("json_schema",))


def make_request(job: Job, model: str, *, knows_further: bool) -> tuple[str, dict[str, Any]]:
    """Return the path to ask and the body; raise `UnsupportedParameter` for what the server has no word for."""
    params, prompt = job.sampling, job.prompt
    chat = read_conversation(prompt, images_in_results=knows_further) if prompt.tokens is None else None
    body: dict[str, Any] = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    body |= _sampling(params, knows_further)
    if chat is None:
        if prompt.images:
            raise _refused("messages", "an image in a text that the YAML's templates write")
        if params.constraint is not None:
            raise _refused(params.constraint.param or "json_schema", "a form for a text that is no chat")
        if params.top_logprobs is not None:
            body["logprobs"] = params.top_logprobs
        return "completions", {**body, "prompt": prompt.text if prompt.tokens is None else prompt.tokens}
    if params.top_logprobs is not None:
        body |= {"logprobs": True, "top_logprobs": params.top_logprobs}
    if params.constraint is not None:
        body["response_format"] = _form(params.constraint)
    return "chat/completions", {**body, **chat}


def _sampling(params: SamplingParams, knows_further: bool) -> dict[str, Any]:
    # What nobody has asked for is left to the server: some models refuse to be told.
    body: dict[str, Any] = {
        name: getattr(params, name) for name in ("temperature", "top_p") if getattr(params, name) != 1
    }
    for name in FURTHER:
        value = getattr(params, name)
        if value > 0 and not knows_further:
            raise _refused(name, f"`{name}`")
        if value > 0:
            body[name] = value
    body |= {name: getattr(params, name) for name in ("frequency_penalty", "presence_penalty") if getattr(params, name)}
    if params.seed >= 0:
        body["seed"] = params.seed
    if params.max_tokens:
        body["max_tokens"] = params.max_tokens
    if params.logit_bias:
        body["logit_bias"] = {str(token): bias for token, bias in params.logit_bias.items()}
    return body


def _form(constraint: Constraint) -> dict[str, Any]:
    schema = msgspec.json.decode(constraint.text)
    if constraint.is_lax and schema in ({}, {"type": "object"}, True):
        return {"type": "json_object"}
    return {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}


def _refused(field: str, what: str) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"{what[0].upper()}{what[1:]} is not supported by the server elsewhere that answers for this model; leave it "
        "out, or choose another model.",
        param=field,
    )
