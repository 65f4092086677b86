"""An answer's calls up to the first that repeats an earlier one word for word, behind which models end no more.

What is dropped was never told, so a call that may still turn out to be a repeat is held back meanwhile.
"""

from __future__ import annotations

import msgspec

from localai_flask.chat.answer import Enough, Event, Finish, Reader, ToolArguments, ToolCallStart
from localai_flask.generation import Delta, Finished, FinishReason


class DistinctCallsReader:
    """Passes another reader's events on and, in the place of a repeated call, says that it is enough.

    Of what would follow, the last event is passed on alone. Arguments are JSON objects, so that those which are equal
    to whole ones are whole.
    """

    def __init__(self, reader: Reader):
        self._reader = reader
        self._calls: list[tuple[str, str]] = []
        """Name and arguments of each call, the last one as far as it has come."""
        self._held: list[Event] = []
        """The events of the last call, while it is the beginning of an earlier one."""
        self._is_over = False

    def feed(self, delta: Delta) -> list[Event]:
        return [event for each in self._reader.feed(delta) for event in self._passed(each)]

    def finish(self, finished: Finished) -> list[Event]:
        return [event for each in self._reader.finish(finished) for event in self._passed(each)]

    def _passed(self, event: Event) -> list[Event]:
        if self._is_over:
            return [msgspec.structs.replace(event, reason=FinishReason.TOOL_CALLS)] if isinstance(event, Finish) else []
        match event:
            case ToolCallStart(_, _, name):
                released = self._release()
                self._calls.append((name, ""))
                self._held = [event]
                return released + self._weighed()
            case ToolArguments(_, text):
                name, arguments = self._calls[-1]
                self._calls[-1] = name, arguments + text
                if self._held:
                    self._held.append(event)
                    return self._weighed()
        return [*self._release(), event]

    def _weighed(self) -> list[Event]:
        """Return what of the last call may be told: nothing while it may be a repeat, and never if it is one."""
        *earlier, (name, arguments) = self._calls
        if arguments and (name, arguments) in earlier:
            self._held, self._is_over = [], True
            return [Enough()]
        may_repeat = any(other == name and known.startswith(arguments) for other, known in earlier)
        return [] if may_repeat else self._release()

    def _release(self) -> list[Event]:
        released, self._held = self._held, []
        return released
