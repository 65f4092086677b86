"""The assistant's last message, where the model is to go on with it: left open at the end of the prompt.

No template knows how to do that, so the message's text is marked at its end, and the prompt cut at the mark.
"""

from __future__ import annotations

import dataclasses
import uuid

from localai_flask.chat.conversation import Conversation
from localai_flask.errors import UnsupportedParameter


def marked(conversation: Conversation) -> tuple[Conversation, str]:
    """Mark the end of the last message's text, if it is to be gone on with; give the mark, or ""."""
    if not conversation.continued_by:
        return conversation, ""
    *before, last = conversation.messages
    mark = uuid.uuid4().hex
    open_message = dataclasses.replace(last, content=last.content + mark)
    return dataclasses.replace(conversation, messages=(*before, open_message)), mark


def cut(prompt: str, mark: str, field: str) -> str:
    """Cut a prompt at a mark, of which "" is none; raise `UnsupportedParameter` if a template has left it out."""
    if not mark:
        return prompt
    before, found, _ = prompt.rpartition(mark)
    if not found:
        raise UnsupportedParameter(
            f"`{field}` asks to go on with the assistant's last message, which this model's chat template does not "
            "write as it is; end the messages with the user's.",
            param=field,
        )
    return before
