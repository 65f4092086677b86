"""The metadata that clients attach to what is stored."""

from __future__ import annotations

from typing import Any

from marshmallow import ValidationError
from marshmallow.validate import Length

from localai_flask.api.request.fields import Mapping, Text

MOST_ENTRIES, LONGEST_KEY, LONGEST_VALUE = 16, 64, 512
"""As OpenAI documents them."""


class Metadata(Mapping):
    """Texts under names."""

    def __init__(self, **options: Any):
        super().__init__(keys=_text(LONGEST_KEY), values=_text(LONGEST_VALUE), **options)

    def _deserialize(self, value: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(value, dict) and len(value) > MOST_ENTRIES:
            raise ValidationError(f"may have at most {MOST_ENTRIES} entries.")
        return super()._deserialize(value, *args, **kwargs)


def _text(longest: int) -> Text:
    return Text(validate=Length(max=longest, error=f"may have at most {longest} characters."))
