"""A backend with a loop of its own, driven as the engine thread drives it: stepped when it says so."""

from __future__ import annotations

import itertools
import threading
import time
from typing import Any

from localai_flask.backends.base import Backend, Inquiry, Job
from localai_flask.generation import Delta, Failed, Finished, Prompt
from localai_flask.sampling_params import SamplingParams

LIMIT_S = 60.0


class Served:
    """Runs jobs and questions, and keeps what was said of each."""

    def __init__(self, backend: Backend):
        self.backend = backend
        self.replies: dict[int, list[Any]] = {}
        self._ids = itertools.count(1)
        self._news = threading.Event()
        backend.notify = self._news.set

    def start(self, prompt: str | list[int] | Prompt, **sampling: Any) -> Job:
        """Begin a job, greedy unless told otherwise."""
        if not isinstance(prompt, Prompt):
            prompt = Prompt(prompt) if isinstance(prompt, str) else Prompt(tokens=prompt)
        job = Job(next(self._ids), prompt, SamplingParams(**{"temperature": 0.0, "top_k": 0, **sampling}))
        if (ahead := self.backend.compile_ahead(job)) is not None:
            ahead.result(LIMIT_S)
        self.backend.prepare(job)
        self.replies[job.id] = []
        assert self.backend.start(job)
        return job

    def step(self) -> None:
        self._news.wait(1.0)
        self._news.clear()
        for id, reply in self.backend.step():
            self.replies[id].append(reply)

    def run(self) -> None:
        """Step until nothing is left."""
        deadline = time.monotonic() + LIMIT_S
        while not self.backend.is_idle:
            assert time.monotonic() < deadline
            self.step()

    def generate(self, prompt: str | list[int] | Prompt, **sampling: Any) -> Job:
        job = self.start(prompt, **sampling)
        self.run()
        return job

    def ask(self, question: Any) -> Any:
        """Return the answer to a question."""
        inquiry = Inquiry(next(self._ids), question)
        self.replies[inquiry.id] = []
        if (fact := self.backend.ask(inquiry)) is not None:
            return fact
        self.backend.start_inquiry(inquiry)
        self.run()
        (answer,) = self.replies[inquiry.id]
        return answer

    def text(self, job: Job) -> str:
        return "".join(each.text for each in self.replies[job.id] if isinstance(each, Delta))

    def end(self, job: Job) -> Finished:
        """Return a job's last word, which must be a good one and the only one."""
        *others, last = self.replies[job.id]
        assert isinstance(last, Finished), last
        assert not any(isinstance(each, Finished | Failed) for each in others)
        return last

    def failure(self, job: Job) -> Failed:
        last = self.replies[job.id][-1]
        assert isinstance(last, Failed), last
        return last
