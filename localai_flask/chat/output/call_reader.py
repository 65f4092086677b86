"""Reads the text behind one opening marker with the syntax it belongs to."""

from __future__ import annotations

from localai_flask.chat.formats.base import Begun, Body, CallSyntax, CutOff, Ended, Functions, NotACall, Step


class CallReader:
    """Turns pieces of text into steps until the calls are at their end.

    Then `is_done` holds, and `rest` is the text that is none of theirs. If it was no call, `rest` is all of the text
    and `is_refused` holds too. `lead` is the marker, and the white space before it.
    """

    def __init__(self, syntax: CallSyntax, lead: str, functions: Functions):
        self.lead = lead
        self.is_bare = syntax.is_bare
        self._body = Body(syntax.opening if syntax.reads_opening else "")
        self._kept = self._settled = len(self._body.text)
        self._steps = syntax.read(self._body, functions)
        self.has_begun = self.is_open = self.is_done = self.is_refused = False
        self.rest = ""

    def feed(self, text: str) -> list[Step]:
        """Take more text."""
        self._body.add(text, keeps_read=not self.is_open)
        return self._run()

    def finish(self) -> list[Step]:
        """Settle what can be, as no more text is to come."""
        self._body.is_whole = True
        return self._run()

    @property
    def unread(self) -> str:
        """All the text so far, behind the marker, while no call has begun."""
        return self._body.text[self._kept :]

    def _run(self) -> list[Step]:
        steps: list[Step] = []
        try:
            for step in self._steps:
                if step is None:
                    return steps
                self._note(step)
                steps.append(step)
        except NotACall:
            self._give_up()
        except CutOff:
            if not self.is_open:
                self._give_up()
            elif not self._body.is_whole:  # malformed: what follows is shown as it is
                self.rest = self._body.rest
        else:
            self.rest = self._body.rest
        self.is_done = True
        return steps

    def _note(self, step: Step) -> None:
        if isinstance(step, Begun):
            self.has_begun = self.is_open = True
        elif isinstance(step, Ended):
            self.is_open = False
            self._settled = self._body.at

    def _give_up(self) -> None:
        self.is_refused = not self.has_begun
        self.rest = self._body.text[self._kept if self.is_refused else self._settled :]
