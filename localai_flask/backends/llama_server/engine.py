"""The backend of programs: the verbs of every engine, said over HTTP to a llama-server of its own."""

from __future__ import annotations

import logging
import queue
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any

import httpx2
import msgspec

from localai_flask.backends.base import Backend, Event, Inquiry, Job, LoadProgress
from localai_flask.backends.llama_server import flags
from localai_flask.backends.llama_server.completion import CONSTRAINTS, TAKEN, Chunk, completion_body
from localai_flask.backends.llama_server.failures import as_api_error
from localai_flask.backends.llama_server.key_checks import check
from localai_flask.backends.llama_server.process import Process
from localai_flask.backends.llama_server.programs import describe, require_program, run
from localai_flask.backends.llama_server.questions import Questions
from localai_flask.backends.llama_server.sequence import Sequence
from localai_flask.backends.llama_server.tokens import Tokens
from localai_flask.backends.notes import heed
from localai_flask.backends.output import Output
from localai_flask.backends.takes import Takes
from localai_flask.config import traits
from localai_flask.config.files.gguf import inspect
from localai_flask.config.files.gguf_vocabulary import read_vocabulary
from localai_flask.config.model import EngineConfig
from localai_flask.errors import ContextOverflow, WorkerDied
from localai_flask.generation import Failed, Finished, ModelInfo, Reply
from localai_flask.inquiry import Fact
from localai_flask.settings import Settings

log = logging.getLogger(__name__)

WORD_PIECE = "bert"
"""What GGUF files call BERT's vocabularies."""
Said = Any
"""An event of an answer, the exception that ended it, or the answer to a question."""


class LlamaServerBackend(Backend):
    """Runs one program with one model, whose slots are filled here; the program batches what runs in them."""

    capabilities = frozenset({"generate", "constrain"})
    takes = Takes(TAKEN, CONSTRAINTS)

    def load(self, config: EngineConfig, progress: LoadProgress) -> ModelInfo:
        settings = Settings.from_environment()
        heed(check(config), config)
        path = require_program(config.backend, settings)
        made = flags.make_flags(config, describe(path), settings)
        heed(made.notes, config)
        header = inspect(config.model_path)
        self.name, self.slots = config.name, flags.slots_of(config)
        self.context_length, self.trained = flags.context_of(config, settings), header.context_length
        self._said: queue.SimpleQueue[tuple[int, Said]] = queue.SimpleQueue()
        self._running: dict[int, Sequence] = {}
        self._asked: dict[int, Future[Fact]] = {}
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
        http, able = self.program.http, traits.capabilities(config)
        props = http.begin(http.ask("GET", "/props")).result()
        model, control = read_vocabulary(config.model_path)
        self.tokens = Tokens(http)
        http.begin(self.tokens.look(control)).result()
        self._questions = Questions(
            http, self.tokens, self.context_length, self.trained, is_word_piece=model == WORD_PIECE
        )
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

    # Jobs.

    def compile_ahead(self, job: Job) -> Future[Any] | None:
        """Have the program tokenize the prompt."""
        return self._begin(self._encode(job))

    async def _encode(self, job: Job) -> None:
        try:
            job.prompt_tokens = await self.tokens.encode(job.prompt)
        except Exception as error:
            is_dead = isinstance(error, httpx2.TransportError) and await self.program.has_ended()
            raise self._death() if is_dead else self._api_error(error) from error

    def prepare(self, job: Job) -> None:
        if len(job.prompt_tokens) >= self.context_length:
            raise ContextOverflow(len(job.prompt_tokens), self.context_length, trained=self.trained)
        output = Output(job, self.context_length)
        body = completion_body(job.prompt_tokens, job.sampling, output.limit, self.context_length)
        job.prepared = output, body

    @property
    def room(self) -> int:
        return self.slots - len(self._running)

    def start(self, job: Job) -> bool:
        output, body = job.prepared
        sequence = Sequence(job, output)
        self._running[job.id] = sequence
        sequence.stream = self._begin(self._compute(job.id, body))
        return True

    async def _compute(self, id: int, body: dict[str, Any]) -> None:
        try:
            await self.program.http.stream("/completion", body, lambda event: self._say(id, event))
            if id in self._running and await self.program.has_ended():
                return  # everything is ended at once
            self._say(id, None)
        except httpx2.TransportError as error:
            if not await self.program.has_ended():
                self._say(id, error)
        except Exception as error:
            self._say(id, error)

    # Questions.

    def ask(self, inquiry: Inquiry) -> Fact | None:
        return None

    @property
    def inquiry_room(self) -> int:
        return 2 * self.slots - len(self._asked)

    def start_inquiry(self, inquiry: Inquiry) -> None:
        self._asked[inquiry.id] = self._begin(self._questions.answer(inquiry.question))
        self._asked[inquiry.id].add_done_callback(lambda made: self._say(inquiry.id, made))

    # Both.

    def cancel(self, job_id: int) -> None:
        sequence = self._running.pop(job_id, None)
        work = self._asked.pop(job_id, None) if sequence is None else sequence.stream
        if work is not None:
            work.cancel()

    def step(self) -> list[Event]:
        """Collect what the program has said; raise `RuntimeError` if it is gone and everybody knows."""
        events: list[Event] = []
        while not self._said.empty():
            id, said = self._said.get()
            if (sequence := self._running.get(id)) is not None:
                events += [(id, reply) for reply in self._replies(sequence, said)]
            elif self._asked.pop(id, None) is not None:
                events.append((id, self._fact(said)))
        if not self._died:
            return events
        if not self._running and not self._asked and not events:
            raise RuntimeError(f"the program of model {self.name} ended ({self.program.ending})")
        events += self._fail_all()
        self._notify()
        return events

    @property
    def is_idle(self) -> bool:
        return not self._running and not self._asked

    @property
    def runs_by_itself(self) -> bool:
        return True

    def close(self) -> None:
        self.program.close()

    def _begin(self, work: Coroutine[Any, Any, Any]) -> Future[Any]:
        return self.program.http.begin(work)

    def _say(self, id: int, said: Said) -> None:
        """Leave something for `step`; called from the HTTP thread."""
        self._said.put((id, said))
        self._notify()

    def _replies(self, sequence: Sequence, said: Said) -> list[Reply]:
        try:
            if isinstance(said, BaseException):
                raise said
            if said is None:
                raise WorkerDied(f"The program of model {self.name} ended its answer in the middle; try again.")
            replies = sequence.take(msgspec.convert(said, Chunk, strict=False))
        except Exception as error:
            replies = [Failed(self._api_error(error).info)]
        if replies and isinstance(replies[-1], Finished | Failed):
            self.cancel(sequence.job.id)
        return replies

    def _fact(self, made: Future[Fact]) -> Fact | Failed:
        error = made.exception()
        return made.result() if error is None else Failed(self._api_error(error).info)

    def _api_error(self, error: BaseException) -> Any:
        if not isinstance(error, msgspec.ValidationError):
            return as_api_error(error, self._called, limit=self.context_length, trained=self.trained)
        log.error("the program of model %s sent what cannot be read: %s", self.name, error)
        return as_api_error(error, self._called)

    @property
    def _called(self) -> str:
        return f"The program of model {self.name}"

    def _note_death(self) -> None:
        self._died = True
        self._notify()

    def _notify(self) -> None:
        if self.notify is not None:
            self.notify()

    def _death(self) -> WorkerDied:
        return WorkerDied(f"The program of model {self.name} ended ({self.program.ending}); it is started again.")

    def _fail_all(self) -> list[Event]:
        """End everything because the program is gone; the next step raises, so that the worker is replaced."""
        error = self._death()
        ids = [*self._running, *self._asked]
        self._running.clear()
        self._asked.clear()
        return [(id, Failed(error.info)) for id in ids]
