"""The backend of servers elsewhere: the verbs of every engine, said in OpenAI's API."""

from __future__ import annotations

import array
from typing import Any

import httpx2

from localai_flask.backends.base import Job, LoadProgress
from localai_flask.backends.cloud_proxy.answer import RemoteAnswer
from localai_flask.backends.cloud_proxy.bodies import CONSTRAINTS, TAKEN, make_request
from localai_flask.backends.cloud_proxy.conversation import TEMPLATE
from localai_flask.backends.cloud_proxy.images import may_see
from localai_flask.backends.cloud_proxy.key_checks import check
from localai_flask.backends.cloud_proxy.target import Target, read_target
from localai_flask.backends.notes import heed
from localai_flask.backends.output.output import Output
from localai_flask.backends.over_http.backend import HttpBackend
from localai_flask.backends.over_http.http_thread import HttpThread, Refused
from localai_flask.backends.takes import ALL_INPUTS, Takes
from localai_flask.config import traits
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ApiError, ConfigError, ModelLoadFailed
from localai_flask.generation import ModelInfo
from localai_flask.inquiry import Embed, Embedded, Fact, Question, Score, Scored

SLOTS = 64
SILENCE_S = 300.0
UNTOLD_CONTEXT = 128 * 1024
"""The context of a model of which neither the YAML nor the server says it."""
KNOW_FURTHER = ("vllm", "llamacpp", "sglang", "localai-flask", "localai")
"""What servers call themselves that take more than OpenAI's own parameters."""


class CloudProxyBackend(HttpBackend[RemoteAnswer]):
    """Hands jobs on, up to `slots` at once; what it is told of tokens is what the server counts."""

    capabilities = frozenset({"generate", "constrain"})
    takes = Takes(TAKEN, CONSTRAINTS, ALL_INPUTS)

    def load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
        heed(check(config), config)
        self._target = target = read_target(config)
        self.name, self.called = config.name, f"The server {target.host}, which answers for model {config.name},"
        self.slots = int(config.option("parallel") or SLOTS)
        self.context_length = UNTOLD_CONTEXT
        headers = {"Content-Type": "application/json"}
        if target.key:
            headers["Authorization"] = f"Bearer {target.key}"
        silence = config.proxy.request_timeout_seconds or SILENCE_S
        self._http = HttpThread(f"{target.base}/", headers, read_s=silence, trust_env=True)
        try:
            found = self._look_up(target)
        except BaseException:
            self._http.stop()
            raise
        self._knows_further = str(found.get("owned_by", "")).lower() in KNOW_FURTHER
        self.context_length = config.context_size or _context(found) or UNTOLD_CONTEXT
        return ModelInfo(
            backend=config.backend,
            engine_version=str(found.get("owned_by", "")),
            context_length=self.context_length,
            capabilities=traits.capabilities(config) - (frozenset() if may_see(found) else {"image"}),
            chat_template=TEMPLATE,
        )

    def _look_up(self, target: Target) -> dict[str, Any]:
        """Return what the server says of the model; nothing if it lists none.

        Raises `ConfigError` if the key is not taken, `ModelLoadFailed` if there is no such model, and `Unavailable` if
        the server cannot be reached.
        """
        try:
            listed = self._http.begin(self._http.ask("GET", "models")).result()
        except Refused as error:
            if error.status in (401, 403):
                key = "does not accept the key that its YAML names; correct it"
                wanted = key if target.key else "wants a key; name it in `proxy.api_key_env` or `proxy.api_key_file`"
                raise ConfigError(f"{self.called} {wanted}.", param="proxy") from error
            if error.status in (404, 405):
                return {}
            raise self.api_error(error) from error
        except (httpx2.HTTPError, ValueError) as error:
            raise self.api_error(error) from error
        entries = listed.get("data") if isinstance(listed, dict) else listed  # some servers list models without a frame
        models = {
            each["id"]: each for each in entries or [] if isinstance(each, dict) and isinstance(each.get("id"), str)
        }
        if target.model in models or not models:
            return {**_beside(listed, target.model), **models.get(target.model, {})}
        names = ", ".join(sorted(models)[:5])
        raise ModelLoadFailed(f"{self.called} has no model {target.model!r}; it has: {names}.")

    @property
    def http(self) -> HttpThread:
        return self._http

    def api_error(self, error: BaseException) -> ApiError:
        """Return what to tell a client, without the key, which a server may quote."""
        if isinstance(error, Refused) and self._target.key:
            error.details["message"] = error.said.replace(self._target.key, "…")
        return super().api_error(error)

    def prepare(self, job: Job) -> None:
        request = make_request(job, self._target.model, knows_further=self._knows_further)
        job.prepared = Output(job, self.context_length), *request

    def answering(self, job: Job) -> tuple[RemoteAnswer, str, dict[str, Any]]:
        output, path, body = job.prepared
        return RemoteAnswer(job, output), path, body

    async def answer(self, question: Question) -> Fact:
        if isinstance(question, Embed):
            return await self._embed(question)
        assert isinstance(question, Score)
        body = {"model": self._target.model, "query": question.query, "documents": [question.document]}
        said = await self._http.ask("POST", "rerank", body)
        tokens = (said.get("usage") or said.get("meta", {}).get("tokens") or {}).get("total_tokens", 0)
        return Scored(float(said["results"][0]["relevance_score"]), int(tokens))

    async def _embed(self, question: Embed) -> Embedded:
        text = question.prompt.text if question.prompt.tokens is None else question.prompt.tokens
        body = {"model": self._target.model, "input": [text], "encoding_format": "float"}
        said = await self._http.ask("POST", "embeddings", body)
        vector = array.array("f", said["data"][0]["embedding"])
        return Embedded(vector.tobytes(), len(vector), int((said.get("usage") or {}).get("prompt_tokens", 0)))

    def close(self) -> None:
        self._http.stop()


def _beside(listed: Any, model: str) -> dict[str, Any]:
    """Return what llama-server says of a model in a second list."""
    others = listed.get("models") if isinstance(listed, dict) else None
    entries = (each for each in others or [] if isinstance(each, dict))
    found = next((each for each in entries if model in (each.get("name"), each.get("model"))), {})
    return {"capabilities": found.get("capabilities")}


def _context(found: dict[str, Any]) -> int:
    """Return how many tokens a model takes, by whichever word its server has for that."""
    meta = found.get("meta") or {}
    told = (found.get("max_model_len"), found.get("context_length"), meta.get("n_ctx"), meta.get("n_ctx_train"))
    return next((int(each) for each in told if isinstance(each, int) and each > 0), 0)
