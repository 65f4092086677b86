"""The assistant's last message, where the model is to continue it: left open at the end of the prompt.

No template knows how to do that, so the message's text is marked at its end, and the prompt cut at the mark.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable

from localai_flask.chat.conversation import Conversation
from localai_flask.errors import UnsupportedParameter

Write = Callable[[Conversation], str]
"""Writes a conversation as the model's template has it."""


def written(conversation: Conversation, write: Write) -> tuple[str, str]:
    """Write a prompt; return it, and what of the answer's turn stands in it already, if that is to be continued.

    Raises `UnsupportedParameter` if the template leaves out the text that is to be continued.
    """
    field = conversation.continued_by
    if not field:
        return write(conversation), ""
    *before, last = conversation.messages
    mark = uuid.uuid4().hex
    marked = dataclasses.replace(last, content=last.content + mark)
    prompt, found, _ = write(dataclasses.replace(conversation, messages=(*before, marked))).rpartition(mark)
    if not found:
        raise UnsupportedParameter(
            f"`{field}` asks to go on with the assistant's last message, which this model's chat template does not "
            "write as it is; end the messages with the user's.",
            param=field,
        )
    if all(message.role in ("system", "developer") for message in before):  # which not every template takes alone
        return prompt, last.content
    shorter = dataclasses.replace(conversation, messages=tuple(before), continued_by="", opens_answer=False)
    return prompt, _differing(prompt, write(shorter))


def _differing(text: str, other: str) -> str:
    """Return a text from where it is not the other any more."""
    pairs = enumerate(zip(text, other, strict=False))
    return text[next((at for at, (one, two) in pairs if one != two), min(len(text), len(other))) :]
