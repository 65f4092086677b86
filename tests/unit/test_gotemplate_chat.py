"""Templates as model YAMLs have them: how a message, a call of a tool and a list of tools are written."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from localai_flask.gotemplate import TemplateError, parse

CHATML = """<|im_start|>{{if eq .RoleName "assistant"}}assistant{{else if eq .RoleName "system"}}system{{else if eq .RoleName "tool"}}tool{{else if eq .RoleName "user"}}user{{end}}
{{- if .FunctionCall }}
<tool_call>
{{- else if eq .RoleName "tool" }}
<tool_response>
{{- end }}
{{- if .Content}}
{{.Content}}
{{- end }}
{{- if .FunctionCall}}
{{toJson .FunctionCall}}
{{- end }}
{{- if .FunctionCall }}
</tool_call>
{{- else if eq .RoleName "tool" }}
</tool_response>
{{- end }}<|im_end|>"""  # noqa: E501

LLAMA3 = """<|start_header_id|>{{.RoleName}}<|end_header_id|>

{{ if .FunctionCall -}}
Function call:
{{ else if eq .RoleName "tool" -}}
Function response:
{{ end -}}
{{ if .Content -}}
{{.Content -}}
{{ else if .FunctionCall -}}
{{ toJson .FunctionCall -}}
{{ end -}}
<|eot_id|>"""

CALL = {"function": "test"}


def message(role: str, content: str = "", call: Any = None) -> dict[str, Any]:
    return {"RoleName": role, "Content": content, "FunctionCall": call, "MessageIndex": 0, "LastMessage": False}


@pytest.mark.parametrize(
    ("template", "data", "text"),
    [
        (CHATML, message("user", "TEXT"), "<|im_start|>user\nTEXT<|im_end|>"),
        (CHATML, message("assistant", "TEXT"), "<|im_start|>assistant\nTEXT<|im_end|>"),
        (
            CHATML,
            message("assistant", "", CALL),
            '<|im_start|>assistant\n<tool_call>\n{"function":"test"}\n</tool_call><|im_end|>',
        ),
        (CHATML, message("tool", "TEXT"), "<|im_start|>tool\n<tool_response>\nTEXT\n</tool_response><|im_end|>"),
        (LLAMA3, message("user", "TEXT"), "<|start_header_id|>user<|end_header_id|>\n\nTEXT<|eot_id|>"),
        (
            LLAMA3,
            message("assistant", "", CALL),
            '<|start_header_id|>assistant<|end_header_id|>\n\nFunction call:\n{"function":"test"}<|eot_id|>',
        ),
        (
            LLAMA3,
            message("tool", "TEXT"),
            "<|start_header_id|>tool<|end_header_id|>\n\nFunction response:\nTEXT<|eot_id|>",
        ),
    ],
)
def test_one_message(template: str, data: dict[str, Any], text: str) -> None:
    assert parse(template).render(data) == text


class Tool(msgspec.Struct, rename="lower"):
    Name: str
    Description: str
    Strict: bool
    Parameters: dict[str, Any]


TOOL = Tool(
    "get_weather",
    "The weather",
    False,
    {"type": "object", "properties": {"city": {"type": "string", "description": "A <city>"}}, "required": ["city"]},
)


def test_a_list_of_tools() -> None:
    template = parse(
        "{{range .Functions}}\n{'type': 'function', 'function': {'name': '{{.Name}}', 'description': "
        "'{{.Description}}', 'parameters': {{toJson .Parameters}} }}{{end}}\n{{.Input -}}\n"
    )
    assert template.render({"Functions": [TOOL], "Input": "hi"}) == (
        "\n{'type': 'function', 'function': {'name': 'get_weather', 'description': 'The weather', 'parameters': "
        '{"properties":{"city":{"description":"A \\u003ccity\\u003e","type":"string"}},"required":["city"],'
        '"type":"object"} }}\nhi'
    )


def test_parameters_one_by_one() -> None:
    template = parse(
        '{{$tools := .Functions}}{{range $tools}}{{.Name}}({{range $key, $val := (index .Parameters "properties")}}'
        '{{$key}}: {{index $val "type"}} - {{index $val "description"}}{{end}}){{end}}'
    )
    assert template.render({"Functions": [TOOL]}) == "get_weather(city: string - A <city>)"


def test_a_tool_as_json_has_the_names_of_the_api() -> None:
    written = parse("{{toJson .Functions}}").render({"Functions": [TOOL]})
    assert written.startswith('[{"name":"get_weather","description":"The weather","strict":false,"parameters":{')


def test_images_are_counted_from_one() -> None:
    template = parse("{{range .Images}}[img-{{add1 .ID}}]{{end}}{{.Text}}")
    assert template.render({"Images": [{"ID": 0}, {"ID": 1}], "Text": "Look"}) == "[img-1][img-2]Look"


def test_a_refusal_reaches_the_client_in_the_templates_words() -> None:
    template = parse(
        '{{if eq .RoleName "system"}}{{fail "This model takes no system message."}}{{end}}', "chat_message"
    )
    with pytest.raises(TemplateError, match=r"chat_message.*This model takes no system message\."):
        template.render(message("system"))
