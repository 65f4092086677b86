"""Log-probabilities of completions: as many alternatives as asked for, whatever their texts."""

from __future__ import annotations

from localai_flask.api.openai.render import LegacyLogprobs
from localai_flask.generation import TokenLogprob


def test_alternatives_with_one_text_are_all_there() -> None:
    top = [(1, b"a", -0.1), (2, b"a", -0.2), (3, b"\xf0", -0.3), (4, b"\x9f", -0.4), (5, b"", -0.5), (6, b"", -0.6)]
    rendered = LegacyLogprobs(0).add([TokenLogprob(1, b"a", -0.1, top)])
    assert rendered.top_logprobs == [
        {
            "a": -0.1,
            "bytes:\\x61": -0.2,
            "bytes:\\xf0": -0.3,
            "bytes:\\x9f": -0.4,
            "token_id:5": -0.5,
            "token_id:6": -0.6,
        }
    ]


def test_a_third_token_of_one_text_goes_by_its_id() -> None:
    top = [(1, b"a", -0.1), (2, b"a", -0.2), (3, b"a", -0.3)]
    (found,) = LegacyLogprobs(0).add([TokenLogprob(1, b"a", -0.1, top)]).top_logprobs
    assert found == {"a": -0.1, "bytes:\\x61": -0.2, "token_id:3": -0.3}
