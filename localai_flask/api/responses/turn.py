"""One response's turn: what is kept of it, and the conversation that it holds until it has ended."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

import flask

from localai_flask.api import current
from localai_flask.api.door import auth
from localai_flask.api.responses import shapes
from localai_flask.api.responses.calls import ResponseCall
from localai_flask.api.responses.input.input_items import kept_conversations
from localai_flask.api.responses.input.items import Item
from localai_flask.api.responses.stored_responses import as_kept, as_stored
from localai_flask.errors import Unavailable
from localai_flask.store.kept import ANSWERED


class Turn:
    """Holds the conversation of a response, if it has one, while the block lasts or until what it hands on has ended.

    Entering raises `ConversationNotFound`, `ConversationHeld`, or `Unavailable` for a database that cannot be reached:
    it is told before the model has worked.
    """

    def __init__(self, call: ResponseCall, response: shapes.Response):
        self._call = call
        self._response = response
        self._conversation_id = call.conversation_id
        self._store = current.store() if call.store or self._conversation_id is not None else None
        self._keeper = auth.keeper()
        self._is_handed_on = False
        self._holds = False

    def __enter__(self) -> Turn:
        if self._conversation_id is not None:
            kept_conversations().hold(self._conversation_id, self._response.id)
            self._holds = True
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if not self._is_handed_on:
            self._release()

    def keep(self, items: Sequence[Item]) -> None:
        """Keep the response, which has ended, and put its items into the conversation, which is free again.

        Also after a failure, of which its client may hear before `end_with` does.
        """
        if self._store is None:
            return
        stored, inputs = as_stored(self._response), as_kept(items)
        if self._call.store:
            responses = self._store.responses.kept_by(self._keeper)
            responses.put(stored, inputs, self._call.previous_id, self._conversation_id)
        elif self._conversation_id is not None and stored.status in ANSWERED:
            self._store.conversations.end_turn(self._conversation_id, stored.id, [*inputs, *stored.output])
        if stored.status in ANSWERED:
            self._leave()  # the turn has given it free
        else:
            self._release()

    def end_with(self, response: flask.Response) -> None:
        """Hold the conversation until an answer has been sent, or its client has left."""
        self._is_handed_on = True
        response.call_on_close(self._release)

    def leave_to_run(self) -> None:
        """Leave the conversation to a background run, which gives it free."""
        self._is_handed_on = True
        self._leave()

    def _leave(self) -> None:
        if self._store is not None and self._conversation_id is not None:
            self._holds = False
            self._store.conversations.leave(self._conversation_id, self._response.id)

    def _release(self) -> None:
        if self._store is not None and self._conversation_id is not None and self._holds:
            self._holds = False
            with suppress(Unavailable):  # the store has logged it; the hold then runs out
                self._store.conversations.release(self._conversation_id, self._response.id)
