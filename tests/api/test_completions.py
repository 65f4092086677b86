import pytest
from flask.testing import FlaskClient

from localai_flask.generation import Delta, Finished, FinishReason, TokenLogprob, Usage
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


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": [[]]}, "prompt[0]"),
        ({"prompt": [1, "a"]}, "prompt[0]"),
        ({"prompt": ["a", [-1]]}, "prompt[1]"),
        ({"prompt": ["a"] * 600}, "prompt"),
        ({"prompt": "a", "best_of": 2}, "best_of"),
        ({"prompt": "a", "suffix": "z"}, "suffix"),
        ({"prompt": [1], "echo": True}, "echo"),
        ({"prompt": "a", "echo": True, "logprobs": 0}, "echo"),
        ({"prompt": "a", "logprobs": True}, "logprobs"),
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
