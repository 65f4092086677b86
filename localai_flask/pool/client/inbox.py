"""Where the answers to one request wait until its thread takes them."""

from __future__ import annotations

import queue
import threading
from itertools import chain

from localai_flask.generation import Delta
from localai_flask.pool.messages import Answer

BEAT_S = 0.5
"""How long to wait for an answer at a time, so that whoever waits sees whether its own client is still there."""
JOINED_AT = 64


class Inbox:
    """Answers with their tags, those of each tag in their order; deltas are joined where they wait.

    So a client that reads slowly, while its model writes on, costs the text that it has not read and nothing else.
    """

    def __init__(self) -> None:
        self._waiting: queue.SimpleQueue[tuple[int, Answer | _Deltas]] = queue.SimpleQueue()
        self._open: dict[int, _Deltas] = {}
        """Deltas that wait, with nothing behind them of their tag."""
        self._joining = threading.Lock()

    def put(self, tag: int, answer: Answer) -> None:
        with self._joining:
            deltas = self._open.get(tag)
            if not isinstance(answer, Delta):
                self._open.pop(tag, None)
                self._waiting.put((tag, answer))
            elif deltas is not None:
                deltas.add(answer)
            else:
                self._open[tag] = _Deltas(answer)
                self._waiting.put((tag, self._open[tag]))

    def get(self, timeout: float) -> tuple[int, Answer]:
        """Take the next answer; raise `queue.Empty` if none comes in time."""
        tag, answer = self._waiting.get(timeout=timeout)
        if not isinstance(answer, _Deltas):
            return tag, answer
        with self._joining:
            if self._open.get(tag) is answer:
                del self._open[tag]
        return tag, answer.join()


class _Deltas:
    """Deltas of one sequence after each other."""

    def __init__(self, first: Delta):
        self._deltas = [first]

    def add(self, delta: Delta) -> None:
        self._deltas.append(delta)
        if len(self._deltas) >= JOINED_AT:  # not each time, as each joining copies the text so far
            self._deltas = [self.join()]

    def join(self) -> Delta:
        if len(self._deltas) == 1:
            return self._deltas[0]
        return Delta(
            "".join(delta.text for delta in self._deltas),
            list(chain.from_iterable(delta.logprobs for delta in self._deltas)),
            sum(delta.tokens for delta in self._deltas),
        )
