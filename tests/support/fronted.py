"""An engine that is stepped by hand, with a line in front of it as in a model worker, in the order of arrival."""

from __future__ import annotations

from typing import Any

from localai_flask.backends.base import Backend, Event, Inquiry, Job
from localai_flask.inquiry import Fact

LOOK_AHEAD = 64


class Fronted:
    """Passes everything on to the engine but what waits for it."""

    def __init__(self, backend: Backend):
        self.inner = backend
        self._jobs: dict[int, Job] = {}
        self._inquiries: dict[int, Inquiry] = {}
        self._running: set[int] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def submit(self, job: Job) -> None:
        ahead = self.inner.compile_ahead(job)
        if ahead is not None:
            ahead.result()
        self.inner.prepare(job)
        self._jobs[job.id] = job

    def ask(self, inquiry: Inquiry) -> Fact | None:
        fact = self.inner.ask(inquiry)
        if fact is None:
            self._inquiries[inquiry.id] = inquiry
        return fact

    def step(self) -> list[Event]:
        for job in list(self._jobs.values())[:LOOK_AHEAD]:
            if self.inner.room <= 0:
                break
            if self.inner.start(job):
                del self._jobs[job.id]
        for id in list(self._inquiries)[: max(0, self.inner.inquiry_room)]:
            self.inner.start_inquiry(self._inquiries.pop(id))
        return self.inner.step()

    def cancel(self, id: int) -> None:
        if self._jobs.pop(id, None) is None and self._inquiries.pop(id, None) is None:
            self.inner.cancel(id)

    @property
    def is_idle(self) -> bool:
        return self.inner.is_idle and not self._jobs and not self._inquiries

    @property
    def waiting(self) -> int:
        return len(self._jobs) + len(self._inquiries)
