"""What a client says in a chat, in one form for all API families: messages, tools, and calls of tools.

Pure data; knows neither a family's JSON nor how any model writes a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from localai_flask.generation import Constraint

if TYPE_CHECKING:
    from localai_flask.chat.documents import DocumentSource
    from localai_flask.chat.images import ImageSource

Role = Literal["system", "developer", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that the model has made; `arguments` is JSON text, as the model wrote it."""

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One turn; what a role has no use for stays empty.

    `images` and `documents` are those whose marks stand in the content (marks.py), by their keys.
    """

    role: Role
    content: str = ""
    name: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    images: Mapping[str, ImageSource] = field(default_factory=dict)
    documents: Mapping[str, DocumentSource] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A function that the model may call; `parameters` is a JSON Schema, to which `strict` asks calls to be held.

    `text_form` is the form of the one text that it is called with, for a function whose only parameter is a text.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] | None = None
    strict: bool = False
    text_form: Constraint | None = None

    @property
    def definition(self) -> dict[str, Any]:
        """The tool in the shape of OpenAI's API, which chat templates expect too."""
        function: dict[str, Any] = {"name": self.name}
        if self.description:
            function["description"] = self.description
        if self.parameters is not None:
            function["parameters"] = self.parameters
        return {"type": "function", "function": function}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """Everything that goes into the prompt of one chat request.

    `tools` are those that the model may call in this turn; `template_kwargs` reach the chat template as variables.
    `reasoning_effort` and `enable_thinking` do so too; empty and None leave them to the model's configuration.
    `parallel_tool_calls` None leaves it to the model's template whether one turn may have several calls.
    `no_action` names the tool, if any, whose call is a plain answer. `thinking_budget` is how many tokens the model may
    think (below 0: no limit; None: what its configuration says), and `thinking_field` what the request calls it.
    `metadata` is what the client sent along, for templates of the model's YAML.
    `continued_by` is the request's field that has the model go on with the last message, its own, "" if none does;
    without `opens_answer` the prompt ends with the last message, with nothing behind it that begins an answer.
    `template` is a chat template in the place of the model's own. With `hides_thinking` what the model thinks is not
    shown; without `reads_thinking` it stays in the answer's text, with its marks. `thinking_budget_message` is written
    where the budget ends the thinking. With `controls_thinking` the client may end it at any moment.
    """

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    parallel_tool_calls: bool | None = None
    template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    reasoning_effort: str = ""
    enable_thinking: bool | None = None
    thinking_budget: int | None = None
    thinking_field: str = "thinking_budget"
    thinking_budget_message: str = ""
    controls_thinking: bool = False
    hides_thinking: bool = False
    reads_thinking: bool = True
    template: str = ""
    no_action: str = ""
    continued_by: str = ""
    opens_answer: bool = True

    @property
    def uses_tools(self) -> bool:
        """Whether there are tools, or calls and their results among the messages."""
        return bool(self.tools) or any(message.tool_calls or message.role == "tool" for message in self.messages)

    @property
    def images(self) -> dict[str, ImageSource]:
        return {key: source for message in self.messages for key, source in message.images.items()}

    @property
    def documents(self) -> dict[str, DocumentSource]:
        return {key: source for message in self.messages for key, source in message.documents.items()}

    @property
    def has_system_message(self) -> bool:
        return any(message.role in ("system", "developer") for message in self.messages)
