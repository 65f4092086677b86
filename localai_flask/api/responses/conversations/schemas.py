"""The bodies of requests about conversations."""

from __future__ import annotations

from typing import Any

import marshmallow
from marshmallow import ValidationError

from localai_flask.api.request.fields import RequestSchema
from localai_flask.api.request.metadata import Metadata
from localai_flask.api.responses.input.items import Input, Item

MOST_ITEMS = 20
"""How many items may be added at a time, as OpenAI documents it."""


class NewItems(Input):
    """A list of items."""

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> list[Item]:
        if not isinstance(value, list):
            raise ValidationError("must be a list of items.")
        if len(value) > MOST_ITEMS:
            raise ValidationError(f"may have at most {MOST_ITEMS} items at a time.")
        return super()._deserialize(value, *args, **kwargs)


LIST = {"type": "array", "items": {"type": "object"}, "maxItems": MOST_ITEMS}


class CreateRequest(RequestSchema):
    items = NewItems(load_default=list, metadata=LIST)
    metadata = Metadata(load_default=dict)


class UpdateRequest(RequestSchema):
    metadata = Metadata(load_default=dict)

    @marshmallow.validates_schema(pass_original=True)
    def check_is_told(self, data: dict[str, Any], original: dict[str, Any], **_: Any) -> None:
        if "metadata" not in original:  # null, which empties it, is left out of `data`
            raise ValidationError({"metadata": ["is required."]})


class ItemsRequest(RequestSchema):
    items = NewItems(required=True, metadata=LIST)
