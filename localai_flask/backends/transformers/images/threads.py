"""Images of requests on their way to the model, in threads beside the one that runs it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from localai_flask.backends.base import Inquiry, Job
from localai_flask.generation import Prompt

if TYPE_CHECKING:
    from localai_flask.backends.transformers.images.reader import ImageReader


class ImageThreads:
    """Opens images as they come, and has the model's encoder read one request's at a time."""

    def __init__(self, reader: ImageReader):
        self.reader = reader
        self._opening, self._encoding = ThreadPoolExecutor(2, "open images"), ThreadPoolExecutor(1, "encode images")

    def open(self, job: Job, beside: Future[Any] | None) -> Future[None]:
        """Open a job's images; what is returned also waits for what is made beside."""
        return self._opening.submit(self._open, job, beside)

    def _open(self, job: Job, beside: Future[Any] | None) -> None:
        job.ahead = self.reader.open(job.prompt)
        if beside is not None:
            beside.result()

    def open_for(self, inquiry: Inquiry, prompt: Prompt) -> Future[None]:
        """Open the images of a prompt whose tokens are asked for."""

        def make() -> None:
            inquiry.prepared = self.reader.open(prompt)

        return self._opening.submit(make)

    def encode(self, job: Job, notice: Callable[[], None] | None) -> Future[None]:
        """Encode a job's images, and call `notice` from the thread when that is done."""
        encoding = self._encoding.submit(self.reader.encode, job.ahead.images)
        if notice is not None:
            encoding.add_done_callback(lambda _: notice())
        return encoding

    def close(self) -> None:
        self._opening.shutdown(wait=False, cancel_futures=True)
        self._encoding.shutdown(wait=False, cancel_futures=True)


def await_one(encodings: Iterable[Future[None]], seconds: float) -> None:
    """Wait until one of these has ended, or for some time."""
    wait(encodings, seconds, FIRST_COMPLETED)
