"""What a model's YAML says about its prompts and its answers' text, from the models folder to HTTP and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from localai_flask.config.folder.registry import Registry
from tests.api.fakes import FakePool, chunks, says

HELLO = [{"role": "user", "content": "hello"}]


@pytest.fixture(autouse=True)
def look_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "recheck_s", 0.0)


def chat(client: FlaskClient, **change: Any) -> Any:
    return client.post("/v1/chat/completions", json={"model": "m", "messages": HELLO, **change})


def model(models: Path, text: str) -> None:
    (models / "m.yaml").write_text(f"name: m\nbackend: echo\n{text}\n")


def test_templates_in_files(client: FlaskClient, pool: FakePool, models: Path) -> None:
    model(models, "template: {chat: sub/wrap, chat_message: turn.tmpl, completion: '<{{.Input}}>'}")
    (models / "sub").mkdir()
    (models / "turn.tmpl").write_text("{{.RoleName}}={{.Content}}")
    assert "no file sub/wrap.tmpl" in chat(client).get_json()["error"]["message"]
    for text in ("[{{.Input}}]", "({{.Input}})!"):
        (models / "sub/wrap.tmpl").write_text(text)  # a change is noticed, also below the models folder
        pool.scripts = [says("x")]
        assert chat(client).status_code == 200
        assert pool.prompt.text == text.replace("{{.Input}}", "user=hello")
    assert len({config.key for config in pool.configs}) == 1, "an edited template had the model loaded again"
    pool.scripts = [says("x")]
    client.post("/v1/completions", json={"model": "m", "prompt": "a"})
    assert pool.prompt.text == "<a>"


def test_a_template_beside_the_model(client: FlaskClient, pool: FakePool, models: Path) -> None:
    (models / "a.gguf").write_bytes(b"")
    (models / "a.gguf.tmpl").write_text("<{{.Input}}>")
    model(models, "parameters: {model: a.gguf}\ntemplate: {edit: '{{.Instruction}}'}")
    pool.scripts = [says("x")] * 3
    prompts = []
    for path, body in (("chat/completions", {"messages": HELLO}), ("completions", {"prompt": "a"})):
        assert client.post(f"/v1/{path}", json={"model": "m", **body}).status_code == 200
        prompts.append(pool.prompt.text)
    client.post("/v1/edits", json={"model": "m", "instruction": "do", "input": "it"})
    assert [*prompts, pool.prompt.text] == ["<hello>", "<a>", "do"]


@pytest.mark.parametrize("name", ["../secret", "/etc/hostname", "sub/../../secret"])
def test_template_files_lie_in_the_models_folder(client: FlaskClient, models: Path, name: str) -> None:
    (models.parent / "secret.tmpl").write_text("{{.Input}}")
    model(models, f"template: {{chat: {name}}}")
    response = chat(client)
    assert response.status_code == 422 and "leads out of the models folder" in response.get_json()["error"]["message"]


def test_a_template_that_fails_is_a_400(client: FlaskClient, models: Path) -> None:
    model(models, "template: {chat: '{{.Input}} {{.Nonsense}}'}")
    for stream in (False, True):
        response = chat(client, stream=stream)
        assert "line 1" in response.text and "Nonsense" in response.text
        assert response.status_code == 400


def test_metadata_reaches_the_template(client: FlaskClient, pool: FakePool, models: Path) -> None:
    model(models, "template: {chat: '{{.Metadata.lang}} {{.ReasoningEffort}}'}")
    pool.scripts = [says("x")]
    chat(client, metadata={"lang": "fr"}, reasoning_effort="low")
    assert pool.prompt.text == "fr low"


FINISHING = r"cutstrings: ['(?s)<note>.*?</note>']" + "\ntrimspace: ['Answer:']\ntrimsuffix: ['END']"
PIECES = ("Answer", ": o", "ne <no", "te>x</n", "ote>two E", "ND")


@pytest.mark.parametrize(
    ("path", "body"),
    [("chat/completions", {"messages": HELLO}), ("completions", {"prompt": "a"}), ("edits", {"instruction": "a"})],
)
def test_text_filters(client: FlaskClient, pool: FakePool, models: Path, path: str, body: dict[str, Any]) -> None:
    model(models, FINISHING)
    pool.scripts = [says(*PIECES)]
    choice = client.post(f"/v1/{path}", json={"model": "m", **body}).get_json()["choices"][0]
    assert (choice["message"]["content"] if "message" in choice else choice["text"]) == "one two"


@pytest.mark.parametrize(
    ("path", "body"), [("chat/completions", {"messages": HELLO}), ("completions", {"prompt": "a"})]
)
def test_text_filters_of_streams(
    client: FlaskClient, pool: FakePool, models: Path, path: str, body: dict[str, Any]
) -> None:
    model(models, FINISHING)
    pool.scripts = [says(*PIECES)]
    events = chunks(client.post(f"/v1/{path}", json={"model": "m", "stream": True, **body}))
    texts = [each["choices"][0].get("delta", {}).get("content") or each["choices"][0].get("text") for each in events]
    assert list(filter(None, texts)) == ["o", "ne", " two"]
    assert events[-1]["choices"][0]["finish_reason"] == "stop"


def test_text_filters_leaves_reasoning_alone(client: FlaskClient, pool: FakePool, models: Path) -> None:
    model(models, "cutstrings: [a]")
    pool.scripts = [says("<think>banana</think>banana")]
    message = chat(client).get_json()["choices"][0]["message"]
    assert (message["reasoning_content"], message["content"]) == ("banana", "bnn")


def test_a_broken_expression_is_named(client: FlaskClient, models: Path) -> None:
    model(models, "extract_regex: ['(a']")
    response = chat(client)
    assert response.status_code == 422 and "`extract_regex[0]` is '(a'" in response.get_json()["error"]["message"]


def test_grammar_of_the_yaml(client: FlaskClient, pool: FakePool, models: Path) -> None:
    model(models, "grammar: 'root ::= [0-9]'")
    assert chat(client).get_json()["error"]["param"] == "grammar"
    pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "constrain"}))
    for asked, text in (({}, "root ::= [0-9]"), ({"grammar": "root ::= [a-z]"}, "root ::= [a-z]")):
        pool.scripts = [says("1")]
        assert chat(client, **asked).status_code == 200
        assert pool.sampling.constraint is not None
        (form,) = pool.sampling.constraint.parts.values()  # behind the thought that the model may begin with
        assert form.text == text
    pool.scripts = [says("1")]
    chat(client, response_format={"type": "json_object"})
    assert pool.sampling.constraint is not None
    assert [form.kind for form in pool.sampling.constraint.parts.values()] == ["json_schema"]


HERMES = (
    "{{ '<tools>' if tools }}{% for m in messages %}{{ m.content }}{% endfor %}<tool_call>{\"name\": ...}</tool_call>"
)
TOOLS = [{"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}}]
CALL = '{"name": "now", "arguments": {}}'


@pytest.mark.parametrize(
    ("template", "answer"),
    [("{}", CALL), ("{use_tokenizer_template: true}", f"<tool_call>\n{CALL}\n</tool_call>")],
)
def test_who_prompts_says_how_calls_are_written(
    client: FlaskClient, pool: FakePool, models: Path, template: str, answer: str
) -> None:
    can_constrain = frozenset({"generate", "constrain"})
    pool.info = msgspec.structs.replace(pool.info, capabilities=can_constrain, chat_template=HERMES)
    model(models, f"function: {{grammar: {{parallel_calls: true}}, disable_no_action: true}}\ntemplate: {template}")
    pool.scripts = [says(answer)]
    choice = chat(client, tools=TOOLS, tool_choice="required").get_json()["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert pool.sampling.constraint is not None
    assert ("<tool_call>" in pool.sampling.constraint.text) == ("<tool_call>" in answer)
