import msgspec
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from localai_flask.generation import (
    Delta,
    Finished,
    FinishReason,
    PromptLogprobs,
    Started,
    TokenLogprob,
    Usage,
)
from tests.api.fakes import FakePool, chunks, says


def test_completion(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("b", "c", reason=FinishReason.MAX_TOKENS)]
    body = client.post("/v1/completions", json={"prompt": "a", "max_tokens": 2}).get_json()
    assert body["object"] == "text_completion" and body["id"].startswith("cmpl-")
    assert body["choices"] == [{"index": 0, "text": "bc", "logprobs": None, "finish_reason": "length"}]
    assert body["usage"]["total_tokens"] == 7
    assert pool.prompt.text == "a"


def test_many_prompts_and_choices(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("1", prompt_tokens=2), says("2", prompt_tokens=2), says("3"), says("4", "5")]
    body = client.post("/v1/completions", json={"prompt": ["a", [1, 2]], "n": 2, "seed": 1}).get_json()
    assert [(c["index"], c["text"]) for c in body["choices"]] == [(0, "1"), (1, "2"), (2, "3"), (3, "45")]
    assert [prompt.text or prompt.tokens for prompt, _ in pool.requests] == ["a", "a", [1, 2], [1, 2]]
    assert [sampling.seed for _, sampling in pool.requests] == [1, 2, 1, 2]
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (7, 5)


def test_token_ids_are_one_prompt(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("x")]
    client.post("/v1/completions", json={"prompt": [5, 6, 7]})
    assert pool.prompt.tokens == [5, 6, 7] and not pool.prompt.add_bos


def test_stream(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("b", "c"), says("d")]
    asked = {"prompt": ["A", "B"], "stream": True, "echo": True, "stream_options": {"include_usage": True}}
    *events, last = chunks(client.post("/v1/completions", json=asked))
    said = {0: "", 1: ""}
    for event in events:
        assert event["object"] == "text_completion"
        said[event["choices"][0]["index"]] += event["choices"][0]["text"]
    assert said == {0: "Abc", 1: "Bd"}
    assert last["object"] == "text_completion" and last["choices"] == [] and last["usage"]["completion_tokens"] == 3


def test_echo(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("c"), says("c")]
    body = client.post("/v1/completions", json={"prompt": ["a", "b"], "echo": True}).get_json()
    assert [choice["text"] for choice in body["choices"]] == ["ac", "bc"]


def test_logprobs_in_the_old_shape(client: FlaskClient, pool: FakePool) -> None:
    pair = "\u20ac".encode()
    script = [
        Delta("a", [TokenLogprob(1, b"a", -1.0, [(1, b"a", -1.0)])]),
        Delta("\u20ac", [TokenLogprob(2, pair[:2], -2.0), TokenLogprob(3, pair[2:], -3.0)]),
        Delta("b", [TokenLogprob(4, b"b", -4.0)]),
        Finished(FinishReason.EOS, Usage(1, 4)),
    ]
    pool.scripts = [script, list(script)]
    logprobs = client.post("/v1/completions", json={"prompt": "x", "logprobs": 1}).get_json()["choices"][0]["logprobs"]
    assert logprobs["token_logprobs"] == [-1, -2, -3, -4]
    assert logprobs["top_logprobs"][0] == {"a": -1}
    assert logprobs["text_offset"] == [0, 1, 1, 2]
    streamed = chunks(client.post("/v1/completions", json={"prompt": "x", "logprobs": 1, "stream": True}))
    offsets = [o for e in streamed for o in (e["choices"][0]["logprobs"] or {"text_offset": []})["text_offset"]]
    assert offsets == [0, 1, 1, 2]


def judged(*pieces: bytes) -> list[TokenLogprob]:
    """A prompt's tokens, the n-th of which has the log-probability -n."""
    return [TokenLogprob(n, piece, -n, [(n, piece, -n)] if n else []) for n, piece in enumerate(pieces)]


PAIR = "\u20ac".encode()
ECHOED = [
    Started(4),
    PromptLogprobs(judged(b"", b" h", PAIR[:1])),
    PromptLogprobs(judged(b"", b"", b"", PAIR[1:])[3:]),
    Delta("i", [TokenLogprob(7, b"i", -7.0)]),
    Finished(FinishReason.EOS, Usage(4, 1)),
]


def logprobs_of(response: TestResponse, *, stream: bool) -> tuple[str, dict]:
    """The text and the log-probabilities of a completion, whole or put together from its stream."""
    choices = [event["choices"][0] for event in chunks(response)] if stream else response.get_json()["choices"]
    parts = [choice["logprobs"] for choice in choices if choice["logprobs"]]
    merged = {key: [each for part in parts for each in part[key]] for key in parts[0]}
    return "".join(choice["text"] for choice in choices), merged


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("prompt", ["h\u20ac", [0, 1, 2, 3]])
def test_echo_with_logprobs_judges_the_prompt(
    client: FlaskClient, pool: FakePool, stream: bool, prompt: object
) -> None:
    pool.scripts = [list(ECHOED)]
    asked = {"prompt": prompt, "echo": True, "logprobs": 1, "stream": stream}
    text, logprobs = logprobs_of(client.post("/v1/completions", json=asked), stream=stream)
    is_text = isinstance(prompt, str)
    assert pool.sampling.prompt_logprobs
    assert text == ("h\u20aci" if is_text else " h\u20aci")
    assert len(logprobs["tokens"]) == 5 and logprobs["tokens"][1] == " h"
    assert logprobs["token_logprobs"] == [None, -1, -2, -3, -7]
    assert logprobs["top_logprobs"][:2] == [None, {" h": -1}]
    # The space that the tokenizer put before the text is not in it.
    assert logprobs["text_offset"] == ([0, 0, 1, 1, 2] if is_text else [0, 0, 2, 2, 3])


@pytest.mark.parametrize("stream", [False, True])
def test_no_tokens_but_the_echoed_prompt(client: FlaskClient, pool: FakePool, stream: bool) -> None:
    pool.scripts = [list(ECHOED)]
    asked = {"prompt": "h\u20ac", "echo": True, "logprobs": 1, "max_tokens": 0, "stream": stream}
    if stream:
        asked["stream_options"] = {"include_usage": True}
    response = client.post("/v1/completions", json=asked)
    body = chunks(response)[-1] if stream else response.get_json()
    assert pool.sampling.max_tokens == 1
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (4, 0)
    choices = [c for event in chunks(response) for c in event["choices"]] if stream else body["choices"]
    assert "".join(choice["text"] for choice in choices) == "h\u20ac"
    assert choices[-1]["finish_reason"] == "length"
    assert sum(len(c["logprobs"]["tokens"]) for c in choices if c["logprobs"]) == 4

    pool.scripts = [list(ECHOED[:1] + ECHOED[3:])]
    plain = client.post("/v1/completions", json={"prompt": "x", "echo": True, "max_tokens": 0}).get_json()
    assert plain["choices"][0] == {"index": 0, "text": "x", "logprobs": None, "finish_reason": "length"}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt[0]"),
        ({"prompt": [1, "a"]}, "prompt[0]"),
        ({"prompt": ["a", [-1]]}, "prompt[1]"),
        ({"prompt": ["a"] * 600}, "prompt"),
        ({"prompt": "a", "best_of": 2, "stream": True}, "best_of"),
        ({"prompt": "a", "best_of": 1, "n": 2}, "best_of"),
        ({"prompt": "a", "suffix": "z"}, "suffix"),
        ({"prompt": [1], "echo": True}, "echo"),
        ({"prompt": "a", "max_tokens": 0}, "max_tokens"),
        ({"prompt": [1], "echo": True, "max_tokens": 0}, "echo"),
        ({"prompt": "a", "logprobs": 21}, "logprobs"),
        ({"prompt": "a", "response_format": {"type": "json_object"}}, "response_format"),
    ],
)
def test_refusals(client: FlaskClient, body: dict, param: str) -> None:
    response = client.post("/v1/completions", json=body)
    assert response.status_code == 400
    assert response.get_json()["error"]["param"] == param


def test_edits(client: FlaskClient, pool: FakePool) -> None:
    pool.scripts = [says("Yes."), says("No.")]
    asked = {"instruction": "Add a period.", "input": ["Yes", "No"], "temperature": 0}
    body = client.post("/v1/edits", json=asked).get_json()
    assert body["object"] == "edit"
    assert [(c["index"], c["text"]) for c in body["choices"]] == [(0, "Yes."), (1, "No.")]
    assert body["usage"]["total_tokens"] == 12
    assert "<|im_start|>user\nAdd a period.\n\nNo<|im_end|>" in pool.prompt.text
    assert client.post("/v1/edits", json={"input": "x"}).get_json()["error"]["param"] == "instruction"


def test_best_of_keeps_the_most_probable(client: FlaskClient, pool: FakePool) -> None:
    def scripted(text: str, *logprobs: float) -> list:
        deltas = [Delta(text if i == 0 else "", [TokenLogprob(i, b"x", lp)]) for i, lp in enumerate(logprobs)]
        return [Started(5), *deltas, Finished(FinishReason.EOS, Usage(5, len(logprobs)))]

    pool.scripts = [scripted("worst", -3.0), scripted("good", -1.0, -1.5), scripted("best", -1.0)]
    body = client.post("/v1/completions", json={"prompt": "a", "best_of": 3, "n": 2}).get_json()
    assert [(c["index"], c["text"], c["logprobs"]) for c in body["choices"]] == [(0, "best", None), (1, "good", None)]
    assert (body["usage"]["prompt_tokens"], body["usage"]["completion_tokens"]) == (5, 4)
    assert pool.sampling.top_logprobs == 0


def test_suffix(client: FlaskClient, pool: FakePool) -> None:
    refused = client.post("/v1/completions", json={"prompt": "a", "suffix": "z"}).get_json()["error"]
    assert refused["code"] == "unsupported_parameter" and pool.requests == []
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "infill"}))
    pool.scripts = [says("b")]
    body = client.post("/v1/completions", json={"prompt": "a", "suffix": "z"}).get_json()
    assert body["choices"][0]["text"] == "b"
    assert (pool.prompt.text, pool.prompt.suffix) == ("a", "z")
    pool.scripts = [says("b")]
    client.post("/v1/completions", json={"prompt": "a", "suffix": ""})
    assert pool.prompt.suffix is None
