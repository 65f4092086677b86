import json

import pytest

from localai_flask.chat.output.partial_json import completed

WHOLE = {"city": 'R"o\\me\u00e9', "list": [1, {"a": True}], "n": -1.5, "o": {}}


def test_every_cut_gives_a_part_of_the_whole() -> None:
    text = json.dumps(WHOLE)
    for end in range(1, len(text) + 1):
        part = completed(text[:end])
        assert "raw" not in part, text[:end]
        assert list(part) == list(WHOLE)[: len(part)]
        for key in list(part)[:-1]:
            assert part[key] == WHOLE[key]
    assert completed(text) == WHOLE


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", {}),
        ('{"a": "x\\u00', {"a": "x"}),
        ('{"a": "x\\\\', {"a": "x\\"}),
        ('{"a": 1, "b', {"a": 1}),
        ("[1]", {"raw": "[1]"}),
        ("no JSON", {"raw": "no JSON"}),
    ],
)
def test_odd_texts(text: str, value: object) -> None:
    assert completed(text) == value
