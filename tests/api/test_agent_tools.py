"""Tools of the types that agents send: those that clients run are served, others are left out and listed."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from flask.testing import FlaskClient

from localai_flask.errors import ContextOverflow
from tests.api.fakes import FakePool, chunks, frames, says

SHOWS_TOOLS = (
    "{{ tools | tojson }}{% for m in messages %}{{ m.role }}:{{ m.content }}"
    "{{ m.tool_calls | tojson if m.tool_calls }}\n{% endfor %}"
)
ADD = {"type": "function", "name": "add", "parameters": {"type": "object"}}
PATCH = {"type": "custom", "name": "patch", "description": "Patch files.", "format": {"type": "text"}}
SPACE = {"type": "namespace", "name": "agents", "description": "", "tools": [{**ADD, "name": "close"}, PATCH]}
HOSTED = [{"type": "web_search"}, {"type": "image_generation"}]
SAID = '*** Begin\n+"é"\n'


@pytest.fixture(autouse=True)
def _shows_tools(pool: FakePool) -> None:
    pool.info = msgspec.structs.replace(pool.info, chat_template=SHOWS_TOOLS + "<tool_call>")


def call(name: str, **arguments: Any) -> list[Any]:
    text = "<tool_call>\n" + json.dumps({"name": name, "arguments": arguments}) + "\n</tool_call>"
    return says(*[text[at : at + 7] for at in range(0, len(text), 7)])


def respond(client: FlaskClient, **body: Any) -> Any:
    return client.post("/v1/responses", json={"input": "hello", "store": False, **body})


def test_a_prompt_that_does_not_fit_is_refused_in_words_that_agents_know(client: FlaskClient, pool: FakePool) -> None:
    """They shorten the conversation and ask again when they read these; of other errors they make an end."""
    messages = [{"role": "user", "content": "hi"}]
    for path, body, known in (
        ("/v1/messages", {"messages": messages, "max_tokens": 5}, r"^prompt is too long: (\d+) tokens > (\d+) maximum"),
        ("/v1/chat/completions", {"messages": messages}, r"^This model's maximum context length is \d+ tokens"),
        ("/v1/responses", {"input": "hi"}, r"maximum context length is \d+ tokens"),
    ):
        pool.scripts = [[ContextOverflow(70000, 65536)]]
        answer = client.post(path, json=body)
        error = answer.get_json()["error"]
        assert answer.status_code == 400 and re.search(known, error["message"]), error
        assert error.get("code", "context_length_exceeded") == "context_length_exceeded"


class TestResponses:
    def test_what_a_server_would_run_is_left_out_and_listed(self, client: FlaskClient, pool: FakePool) -> None:
        pool.scripts = [says("ok")]
        answer = respond(client, tools=[ADD, *HOSTED, HOSTED[0]])
        assert answer.status_code == 200, answer.get_json()
        assert answer.headers["X-Tools-Left-Out"] == "web_search, image_generation"
        assert '"add"' in pool.prompt.text and "web_search" not in pool.prompt.text
        pool.scripts = [says("ok"), says("ok")]
        assert "X-Tools-Left-Out" not in respond(client, tools=[ADD]).headers
        assert respond(client, tools=HOSTED, stream=True).headers["X-Tools-Left-Out"]

    def test_a_custom_tool_is_called_with_a_text(self, client: FlaskClient, pool: FakePool) -> None:
        pool.scripts = [call("patch", input=SAID)]
        streamed = respond(client, tools=[PATCH], stream=True).data
        events = [json.loads(frame.split("data: ", 1)[1]) for frame in frames(streamed) if "event: " in frame]
        item = events[-1]["response"]["output"][0]
        assert (item["type"], item["name"], item["input"]) == ("custom_tool_call", "patch", SAID)
        deltas = [event["delta"] for event in events if event["type"] == "response.custom_tool_call_input.delta"]
        done = [event["input"] for event in events if event["type"] == "response.custom_tool_call_input.done"]
        assert "".join(deltas) == SAID and done == [SAID]
        assert not any("function_call" in event["type"] for event in events)

    def test_a_custom_call_and_its_result_are_read_again(self, client: FlaskClient, pool: FakePool) -> None:
        item = {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": SAID}
        result = {"type": "custom_tool_call_output", "call_id": "c1", "output": "Done."}
        pool.scripts = [says("ok")]
        assert (
            respond(client, tools=[PATCH], input=[{"role": "user", "content": "go"}, item, result]).status_code == 200
        )
        assert "tool:Done." in pool.prompt.text and '"name": "patch"' in pool.prompt.text

    def test_the_tools_in_a_namespace_are_called_within_it(self, client: FlaskClient, pool: FakePool) -> None:
        pool.scripts = [call("agents__close", target="a")]
        answer = respond(client, tools=[SPACE]).get_json()
        (item,) = answer["output"]
        assert (item["type"], item["namespace"], item["name"]) == ("function_call", "agents", "close")
        assert json.loads(item["arguments"]) == {"target": "a"}
        assert answer["tools"][0]["name"] == "agents" and len(answer["tools"][0]["tools"]) == 2
        result = {"type": "function_call_output", "call_id": item["call_id"], "output": "closed"}
        pool.scripts = [call("agents__patch", input="x")]
        again = respond(client, tools=[SPACE], input=[{"role": "user", "content": "go"}, item, result]).get_json()
        assert '"name": "agents__close"' in pool.prompt.text
        assert again["output"][0]["type"] == "custom_tool_call" and again["output"][0]["namespace"] == "agents"

    def test_the_clients_own_shell_is_served(self, client: FlaskClient, pool: FakePool) -> None:
        pool.scripts = [call("local_shell", command=["ls", "-l"])]
        (item,) = respond(client, tools=[{"type": "local_shell"}]).get_json()["output"]
        assert item["type"] == "local_shell_call"
        assert item["action"] == {"type": "exec", "env": {}, "command": ["ls", "-l"]}
        output = {"type": "local_shell_call_output", "id": item["call_id"], "output": "a.txt"}
        pool.scripts = [says("ok")]
        history = [{"role": "user", "content": "go"}, item, output]
        assert respond(client, tools=[{"type": "local_shell"}], input=history).status_code == 200
        assert "tool:a.txt" in pool.prompt.text

    def test_a_custom_tool_may_be_chosen(self, client: FlaskClient, pool: FakePool) -> None:
        pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "constrain"}))
        pool.scripts = [call("patch", input="x")]
        choice = {"type": "custom", "name": "patch"}
        answer = respond(client, tools=[ADD, PATCH, *HOSTED], tool_choice=choice)
        assert answer.status_code == 200 and answer.get_json()["tool_choice"] == choice
        assert '"add"' not in pool.prompt.text

    @pytest.mark.parametrize(("syntax", "text"), [("regex", "a+|b"), ("lark", 'start: "a"+ | "b"')])
    def test_a_grammar_holds_the_text(self, client: FlaskClient, pool: FakePool, syntax: str, text: str) -> None:
        form = {"type": "grammar", "syntax": syntax, "definition": text}
        pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "constrain"}))
        pool.scripts = [says("ok")]
        respond(client, tools=[{**PATCH, "format": form}])
        constraint = pool.sampling.constraint
        assert constraint is not None and constraint.trigger == "<tool_call>"
        (part,) = constraint.parts.values()
        assert (part.kind, part.text, part.end) == (syntax, text, '"')
        assert json.dumps(text)[1:-1] in pool.prompt.text


class TestChat:
    def ask(self, client: FlaskClient, **body: Any) -> Any:
        return client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "go"}], **body})

    custom = {"type": "custom", "custom": {"name": "patch"}}

    def test_a_custom_tool_is_called_with_a_text(self, client: FlaskClient, pool: FakePool) -> None:
        pool.scripts = [call("patch", input=SAID), call("patch", input=SAID), says("ok")]
        message = self.ask(client, tools=[self.custom]).get_json()["choices"][0]["message"]
        (made,) = message["tool_calls"]
        assert made == {"type": "custom", "id": made["id"], "custom": {"name": "patch", "input": SAID}}
        told = [chunk["choices"][0]["delta"] for chunk in chunks(self.ask(client, tools=[self.custom], stream=True))]
        pieces = [piece for delta in told for piece in delta.get("tool_calls", ())]
        assert "".join(piece["custom"]["input"] for piece in pieces) == SAID
        result = {"role": "tool", "tool_call_id": made["id"], "content": "Done."}
        assert self.ask(client, messages=[{"role": "user", "content": "go"}, message, result]).status_code == 200

    def test_others_are_left_out(self, client: FlaskClient, pool: FakePool) -> None:
        pool.scripts = [says("ok")]
        answer = self.ask(client, tools=[{"type": "web_search_preview"}, {"type": "function", "function": ADD}])
        assert answer.headers["X-Tools-Left-Out"] == "web_search_preview"
        refused = self.ask(client, tools=[{"type": "web_search"}], tool_choice="required")
        assert refused.status_code == 400 and refused.get_json()["error"]["param"] == "tool_choice"

    @pytest.mark.parametrize(
        "hint",
        [
            {"stream_options": {"include_usage": True}},
            {"service_tier": "flex"},
            {"verbosity": "low"},
            {"prompt_cache_retention": "24h"},
        ],
    )
    def test_hints_cost_nothing(self, client: FlaskClient, pool: FakePool, hint: dict[str, Any]) -> None:
        pool.scripts = [says("ok"), says("ok")]
        assert self.ask(client, **hint).status_code == 200
        if "stream_options" not in hint:
            hint = {"text": {"verbosity": "low"}} if "verbosity" in hint else hint
            assert respond(client, **hint).status_code == 200


class TestMessages:
    def ask(self, client: FlaskClient, **body: Any) -> Any:
        messages = [{"role": "user", "content": "go"}]
        return client.post("/v1/messages", json={"max_tokens": 9, "messages": messages, **body})

    @pytest.mark.parametrize(
        ("kind", "name", "argument"),
        [
            ("bash_20250124", "bash", "command"),
            ("text_editor_20250728", "str_replace_based_edit_tool", "insert_text"),
            ("text_editor_20250124", "str_replace_editor", "undo_edit"),
            ("memory_20250818", "memory", "old_path"),
            ("computer_20251124", "computer", "scroll_direction"),
        ],
    )
    def test_tools_that_clients_run_have_their_schemas(
        self, client: FlaskClient, pool: FakePool, kind: str, name: str, argument: str
    ) -> None:
        pool.scripts = [call(name, command="ls")]
        answer = self.ask(client, tools=[{"type": kind, "name": name}])
        (use,) = answer.get_json()["content"]
        assert (use["type"], use["name"], use["input"]) == ("tool_use", name, {"command": "ls"})
        assert f'"{argument}"' in pool.prompt.text and "X-Tools-Left-Out" not in answer.headers

    def test_others_are_left_out(self, client: FlaskClient, pool: FakePool) -> None:
        pool.scripts = [says("ok")]
        hosted = [
            {"type": "web_search_20250305", "name": "web_search"},
            {"type": "mcp_toolset", "mcp_server_name": "m"},
        ]
        answer = self.ask(client, tools=hosted)
        assert answer.headers["X-Tools-Left-Out"] == "web_search_20250305, mcp_toolset"

    def test_a_deferred_tool_is_shown_once_it_is_named(self, client: FlaskClient, pool: FakePool) -> None:
        late = {"name": "late", "input_schema": {"type": "object"}, "defer_loading": True}
        find = {"name": "find", "input_schema": {"type": "object"}}
        use = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "find", "input": {}}]}
        found = {
            "type": "tool_result",
            "tool_use_id": "t",
            "content": [{"type": "tool_reference", "tool_name": "late"}],
        }
        begun = [{"role": "user", "content": "go"}]
        pool.scripts = [says("ok"), says("ok"), says("ok")]
        self.ask(client, tools=[find, late])
        assert '"late"' not in pool.prompt.text
        answer = self.ask(client, tools=[find, late], messages=[*begun, use, {"role": "user", "content": [found]}])
        assert answer.status_code == 200 and '"name": "late"' in pool.prompt.text
        search = {"type": "tool_search_tool_regex_20251119", "name": "tool_search_tool_regex"}
        self.ask(client, tools=[search, late])
        assert '"name": "late"' in pool.prompt.text

    def test_a_changing_line_does_not_change_the_prompt(self, client: FlaskClient, pool: FakePool) -> None:
        prompts = set()
        for mark in ("1c0", "9f2"):
            pool.scripts = [says("ok")]
            line = f"x-anthropic-billing-header: cc_version=2.1.197.{mark}; cc_entrypoint=cli;"
            self.ask(client, system=[{"type": "text", "text": line}, {"type": "text", "text": "Be brief."}])
            prompts.add(pool.prompt.text)
        assert len(prompts) == 1 and "Be brief." in prompts.pop()

    def test_tokens_of_the_cache(self, client: FlaskClient, pool: FakePool) -> None:
        """What the engine keeps counts as written to the cache, for the longest time that is asked for anywhere."""
        names = ("input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
        short, long = {"type": "ephemeral"}, {"type": "ephemeral", "ttl": "1h"}
        text = {"type": "text", "text": "go"}
        system = [{**text, "cache_control": long}]
        marked = [{"role": "user", "content": [{**text, "cache_control": short}]}]
        plain = [{"role": "user", "content": [text]}]
        by_time = {0: None, 300: {"ephemeral_5m_input_tokens": 60, "ephemeral_1h_input_tokens": 0}}
        by_time[3600] = {"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 60}
        bodies = ({"messages": marked}, 300), ({"messages": marked, "system": system}, 3600), ({"messages": plain}, 0)
        for body, seconds in (*bodies, ({"messages": plain, "cache_control": short}, 300)):
            kept = 60 if seconds else 0
            pool.scripts = [says("ok", prompt_tokens=100, cached=40, kept=kept)] * 2
            usage = self.ask(client, **body).get_json()["usage"]
            assert pool.requests[-1][1].keep_s == seconds
            assert tuple(usage[name] for name in names) == (60 - kept, kept, 40)
            assert usage.get("cache_creation") == by_time[seconds]
            last = json.loads(frames(self.ask(client, **body, stream=True).data)[-2].split("data: ", 1)[1])
            assert tuple(last["usage"][name] for name in names) == (60 - kept, kept, 40)
        refused = self.ask(client, messages=plain, cache_control={"type": "ephemeral", "ttl": "2h"})
        assert refused.status_code == 400 and "5m, 1h" in refused.get_json()["error"]["message"]

    def test_thoughts_are_cleared_as_asked(self, client: FlaskClient, pool: FakePool) -> None:
        pool.info = msgspec.structs.replace(
            pool.info, chat_template="{% for m in messages %}{{ m.reasoning_content }}|{{ m.content }}\n{% endfor %}"
        )
        said = [
            {"role": role, "content": [*thought, {"type": "text", "text": "x"}]}
            for role, thought in (
                ("user", []),
                ("assistant", [{"type": "thinking", "thinking": "first", "signature": ""}]),
                ("user", []),
                ("assistant", [{"type": "thinking", "thinking": "second", "signature": ""}]),
                ("user", []),
            )
        ]
        for keep, shown in (("all", True), ({"type": "thinking_turns", "value": 1}, False)):
            pool.scripts = [says("ok")]
            edits = {"edits": [{"type": "clear_thinking_20251015", "keep": keep}]}
            assert self.ask(client, messages=said, context_management=edits).status_code == 200
            assert "second" in pool.prompt.text and ("first" in pool.prompt.text) is shown

    def test_the_older_field_for_the_form_is_kept_to(self, client: FlaskClient, pool: FakePool) -> None:
        pool.info = msgspec.structs.replace(pool.info, capabilities=frozenset({"generate", "constrain"}))
        pool.scripts = [says("{}")]
        form = {"type": "json_schema", "schema": {"type": "object"}}
        assert self.ask(client, output_format=form).status_code == 200
        assert pool.sampling.constraint is not None
        assert self.ask(client, output_format=form, output_config={"format": form}).status_code == 400


def test_the_list_of_models_in_anthropics_shape(client: FlaskClient) -> None:
    headers = {"anthropic-version": "2023-06-01"}
    listed = client.get("/v1/models", headers=headers).get_json()
    assert set(listed) == {"data", "first_id", "last_id", "has_more"}
    assert listed["data"][0]["type"] == "model" and "object" not in listed["data"][0]
    assert client.get("/v1/models").get_json()["object"] == "list"
    assert client.get("/v1/models/none", headers=headers).get_json()["type"] == "error"
