"""The backend of programs: the verbs of every engine, said over HTTP to a llama-server of its own."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from typing import Any

import httpx2
import msgspec

from localai_flask.backends.base import Event, Job, LoadProgress
from localai_flask.backends.llama_server import flags
from localai_flask.backends.llama_server.completion import CONSTRAINTS, TAKEN, completion_body
from localai_flask.backends.llama_server.images import ImagePrompts
from localai_flask.backends.llama_server.key_checks import check
from localai_flask.backends.llama_server.process import Process
from localai_flask.backends.llama_server.programs import describe, require_program, run
from localai_flask.backends.llama_server.questions import Questions
from localai_flask.backends.llama_server.sequence import Sequence
from localai_flask.backends.llama_server.tokens import Tokens
from localai_flask.backends.notes import heed
from localai_flask.backends.output.output import Output
from localai_flask.backends.over_http.backend import HttpBackend
from localai_flask.backends.over_http.http_thread import HttpThread
from localai_flask.backends.takes import ALL_INPUTS, Takes
from localai_flask.config import traits
from localai_flask.config.files.gguf import inspect
from localai_flask.config.files.gguf_vocabulary import read_vocabulary
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ContextOverflow, WorkerDied
from localai_flask.generation import Failed, ModelInfo
from localai_flask.inquiry import Fact, Question
from localai_flask.settings import Settings

log = logging.getLogger(__name__)

WORD_PIECE = "bert"
"""What GGUF files call BERT's vocabularies."""


class LlamaServerBackend(HttpBackend[Sequence]):
    """Runs one program with one model, whose slots are filled here; the program batches what runs in them."""

    capabilities = frozenset({"generate", "constrain"})
    takes = Takes(TAKEN, CONSTRAINTS, ALL_INPUTS)

    def load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
        settings = Settings.from_environment()
        heed(check(config), config)
        path = require_program(config.backend, settings)
        made = flags.make_flags(config, describe(path), settings)
        heed(made.notes, config)
        header = inspect(config.model_path)
        self.name, self.slots = config.name, flags.slots_of(config)
        self.context_length, self.trained = flags.context_of(config, settings), header.context_length
        self.called = f"The program of model {config.name}"
        self._died = False
        self.program = Process(path, made.arguments, config)
        try:
            self.program.await_model(progress)
            info = self._look_at(config, header.chat_template or "")
        except BaseException:
            self.program.close()
            raise
        self.program.watch(self._note_death)
        version = run(path, "--version").split("\n")[0].removeprefix("version:").strip()
        return msgspec.structs.replace(info, engine_version=version)

    def _look_at(self, config: EngineConfig, template: str) -> ModelInfo:
        """Find out what the model is, from the program and from the file."""
        http, able = self.http, traits.capabilities(config)
        props = http.begin(http.ask("GET", "/props")).result()
        model, control = read_vocabulary(config.model_path)
        self.tokens = Tokens(http)
        http.begin(self.tokens.look(control)).result()
        self._images = ImagePrompts(http, self.tokens, props)
        self._questions = Questions(
            http, self.tokens, self._images, self.context_length, self.trained, is_word_piece=model == WORD_PIECE
        )
        if not (props.get("modalities") or {}).get("vision"):
            able -= {"image"}
        return ModelInfo(
            backend=config.backend,
            engine_version="",
            context_length=self.context_length,
            capabilities=able,
            chat_template=props.get("chat_template") or template or None,
            control_tokens=control,
            bos_token=props.get("bos_token", ""),
            eos_token=props.get("eos_token", ""),
            trained_context=self.trained,
            memory_bytes=self.program.resident_bytes(),
        )

    @property
    def http(self) -> HttpThread:
        return self.program.http

    def compile_ahead(self, job: Job) -> Future[Any] | None:
        """Have the program tokenize the prompt."""
        return self._begin(self._encode(job))

    async def _encode(self, job: Job) -> None:
        try:
            job.prompt_tokens = await self.tokens.encode(job.prompt)
            if job.prompt.images:  # of whose tokens the program tells
                job.ahead = await self._images.request(job.prompt)
        except Exception as error:
            is_dead = isinstance(error, httpx2.TransportError) and await self.has_ended()
            raise self._death() if is_dead else self.api_error(error) from error

    def prepare(self, job: Job) -> None:
        if len(job.prompt_tokens) >= self.context_length:
            raise ContextOverflow(len(job.prompt_tokens), self.context_length, trained=self.trained)
        output = Output(job, self.context_length)
        body = completion_body(job.ahead or job.prompt_tokens, job.sampling, output.limit, self.context_length)
        job.prepared = output, body

    def answering(self, job: Job) -> tuple[Sequence, str, dict[str, Any]]:
        output, body = job.prepared
        return Sequence(job, output, self.context_length), "/completion", body

    async def answer(self, question: Question) -> Fact:
        return await self._questions.answer(question)

    def step(self) -> list[Event]:
        """Collect what the program has said; raise `RuntimeError` if it is gone and everybody knows."""
        events = super().step()
        if not self._died:
            return events
        if self.is_idle and not events:
            raise RuntimeError(f"the program of model {self.name} ended ({self.program.ending})")
        events += self._fail_all()
        self._notify()
        return events

    def close(self) -> None:
        self.program.close()

    async def has_ended(self) -> bool:
        return await self.program.has_ended()

    def _note_death(self) -> None:
        self._died = True
        log.error("the program of model %s ended (%s)", self.name, self.program.ending)
        self._notify()

    def _death(self) -> WorkerDied:
        return WorkerDied(f"The program of model {self.name} ended ({self.program.ending}); it is started again.")

    def _fail_all(self) -> list[Event]:
        """End everything because the program is gone; the next step raises, so that the worker is replaced."""
        error = self._death()
        ids = [*self._running, *self._asked]
        self._running.clear()
        self._asked.clear()
        return [(id, Failed(error.info)) for id in ids]
