"""The prompts of several questions about one text: they differ in nothing but the question, which stands at the end."""

from __future__ import annotations

import dataclasses
import uuid
from dataclasses import dataclass

from localai_flask.chat.conversation import Conversation, Message
from localai_flask.chat.prompt.plain_text import control_names, unmark
from localai_flask.chat.prompt.prompt import ChatPrompt
from localai_flask.errors import UnsupportedParameter
from localai_flask.generation import Prompt

ANSWER = "\n\nAnswer:"
"""What begins an answer where no template does."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands before a question, and behind it until the model answers."""

    before: Prompt
    behind: str
    control_tokens: tuple[str, ...]

    def around(self, question: str) -> Prompt:
        """Return the prompt of one question, none of whose text becomes a control token."""
        names, start = control_names(self.control_tokens), len(self.before.text)
        text, plain = unmark(names.mark(question), names)
        spans = [(start + begin, start + end) for begin, end in plain]
        return Prompt(
            self.before.text + text + self.behind, plain=[*self.before.plain, *spans], images=self.before.images
        )


def with_place(conversation: Conversation, mark: str) -> Conversation:
    """Return the conversation with a mark behind its last message, where the questions are to stand."""
    *before, last = conversation.messages
    marked = Message(role=last.role, content=f"{last.content}\n\n{mark}", images=last.images)
    return dataclasses.replace(conversation, messages=(*before, marked), enable_thinking=False, thinking_budget=0)


def new_mark() -> str:
    return uuid.uuid4().hex


def frame_of(chat: ChatPrompt, mark: str, control_tokens: tuple[str, ...]) -> Frame:
    """Cut a prompt at the mark; raise `UnsupportedParameter` if the template has left it out."""
    prompt = chat.prompt
    text, found, behind = prompt.text.rpartition(mark)
    if not found:
        raise UnsupportedParameter(
            "The model's chat template does not write the user's last message as it is, so that no question can stand "
            "in it; choose another model.",
            param="model",
        )
    if chat.reasoning is not None and chat.reasoning.opened is not None:
        behind += f"\n{chat.reasoning.opened.end}\n\n"  # the template has begun a thought, which nobody waits for
    plain = [(begin, min(end, len(text))) for begin, end in prompt.plain if begin < len(text)]
    return Frame(Prompt(text, plain=plain, images=prompt.images), behind if behind.strip() else ANSWER, control_tokens)
