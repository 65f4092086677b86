"""The body of a request for a batch of messages."""

from __future__ import annotations

from typing import Any

import marshmallow
import msgspec
from marshmallow import ValidationError
from marshmallow.validate import Regexp

from localai_flask.api.batches.lines import LineAnswer, LineError, check_needs_no_client, encode_answer
from localai_flask.api.request.fields import Many, Mapping, Object, RequestSchema, Text
from localai_flask.errors import InvalidRequest
from localai_flask.store.batches.rows import Line

MOST_REQUESTS = 100_000
"""As Anthropic documents it."""
CUSTOM_ID = Regexp(r"^[A-Za-z0-9_-]{1,64}\Z", error="must be 1 to 64 letters, digits, _ and -.")


class OneRequest(RequestSchema):
    custom_id = Text(required=True, validate=CUSTOM_ID)
    params = Mapping(required=True)


class BatchRequest(RequestSchema):
    requests = Many(Object(OneRequest), required=True)

    @marshmallow.post_load
    def make(self, data: dict[str, Any], **_: Any) -> list[Line]:
        requests = data["requests"]
        if not 0 < len(requests) <= MOST_REQUESTS:
            raise ValidationError({"requests": [f"must have between 1 and {MOST_REQUESTS:,} entries."]})
        known: set[str] = set()
        for index, request in enumerate(requests):
            if request["custom_id"] in known:
                raise ValidationError({"requests": {index: {"custom_id": ["stands in a request before."]}}})
            known.add(request["custom_id"])
        return [_line(number, request) for number, request in enumerate(requests)]


def _line(number: int, request: dict[str, Any]) -> Line:
    """Make a line; a request that cannot be answered in a batch has been answered with the reason."""
    try:
        check_needs_no_client(request["params"], "params")
    except InvalidRequest as error:
        answer = encode_answer(LineAnswer(error=LineError(error.info.code, str(error))))
        return Line(number, request["custom_id"], b"", "errored", answer)
    return Line(number, request["custom_id"], msgspec.json.encode(request["params"]))
