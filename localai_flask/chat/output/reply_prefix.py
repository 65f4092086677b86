"""The text that a model's YAML puts before its replies (`template.reply_prefix`)."""

from __future__ import annotations

from localai_flask.chat.answer import Event, Reader
from localai_flask.generation import Delta, Finished


class PrefixedReader:
    """Lets another reader read some text before the model's own."""

    def __init__(self, reader: Reader, prefix: str):
        self._reader, self._prefix = reader, prefix

    def feed(self, delta: Delta) -> list[Event]:
        return self._reader.feed(self._with_prefix(delta))

    def finish(self, finished: Finished) -> list[Event]:
        events = self._reader.feed(self._with_prefix(Delta(""))) if self._prefix else []
        return events + self._reader.finish(finished)

    def _with_prefix(self, delta: Delta) -> Delta:
        prefix, self._prefix = self._prefix, ""
        return Delta(prefix).followed_by(delta) if prefix else delta
