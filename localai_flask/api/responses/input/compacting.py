"""Making a conversation shorter, so that it can be continued."""

from __future__ import annotations

import time
from collections.abc import Sequence

from localai_flask.api.conversation.pairing import paired
from localai_flask.api.responses import shapes
from localai_flask.api.responses.calls import Context
from localai_flask.api.responses.input.items import Item, new_id, seal
from localai_flask.api.responses.input.messages import to_messages
from localai_flask.api.responses.response_writer import usage
from localai_flask.api.work.chat_plan import chat_plan
from localai_flask.api.work.work import Work
from localai_flask.chat.constraints.constraint import Wanted
from localai_flask.chat.conversation import Message
from localai_flask.config.model import ModelConfig
from localai_flask.config.sampling import sampling

REQUEST = (
    "Write a summary of our conversation up to here, from which you could go on without it: what was asked, what was "
    "found out or decided, names, figures and places in files, and what is left to do. Write the summary only."
)


def compacted(context: Context, items: Sequence[Item], config: ModelConfig) -> shapes.Compaction:
    """Keep what users said, and have the model write a summary that stands for all of it."""
    request = Message(role="user", content=REQUEST)
    conversation = context.conversation(paired([*to_messages(items), request]))
    work = Work(config, chat_plan(conversation, Wanted(), config, sampling.merge(config, {})))
    (answer,) = work.answers()
    assert answer.finish is not None, "a collected answer has an end"
    said = [item for item in items if item["type"] == "message" and item["role"] == "user"]
    summary = {"type": "compaction", "id": new_id("cmp"), "encrypted_content": seal(answer.content)}
    return shapes.Compaction(new_id("resp"), int(time.time()), [*said, summary], usage(answer.finish.usage))
