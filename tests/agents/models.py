"""The models that the programs are tried with: a scripted one that makes the edit, and the toy with a large context."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from tests.agents.programs import MODEL

TOY = Path(__file__).resolve().parents[2] / "models" / "demo.gguf"
CONTEXT = 65536
WRONG, RIGHT = 'print("helo")\n', 'print("hello")\n'
CLOSING = "The file has been changed."


def scripted(file: Path) -> str:
    """Return the YAML of a model that edits a file with whichever tool it is offered, then says that it has."""
    tools = [
        "{{- $done := sub (len (splitList (print `#`) .Input)) 1 -}}",
        f"{{{{- $script := `{say(CLOSING)}` -}}}}",
        "{{- range .Functions -}}",
        *(_turns(name, calls) for name, calls in _calls(str(file)).items()),
        "{{- end -}}{{ $script }}",
    ]
    whole = f"hello.py\n```\n{RIGHT}```\n"
    plain = [
        f"{{{{- if contains `A` .Input -}}}}{say(whole)}",
        f"{{{{- else -}}}}{say(CLOSING)}{{{{- end -}}}}",
    ]
    message = '{{ if eq .RoleName "tool" }}#{{ else if contains "*file listing*" .Content }}A{{ end }}'
    template = {"chat_message": message, "function": "".join(tools), "chat": "".join(plain)}
    return _model(backend="echo", options=["scripted"], context_size=1 << 20, template=template)


def toy() -> str:
    """Return the YAML of the toy with a context for agents' prompts; it stops early, as it would never end."""
    return _model(context_size=CONTEXT, parameters={"model": TOY.name, "temperature": 0}, stopwords=["e"])


def _model(**keys: Any) -> str:
    return yaml.safe_dump({"name": MODEL, **keys})


def say(text: str) -> str:
    return json.dumps({"say": text})


def _turns(name: str, calls: list[dict[str, Any]]) -> str:
    """Return the part of a template that has a tool called where it is offered, after as many results."""
    parts = []
    for done, call in calls:
        text = f"<tool_call>\n{json.dumps(call)}\n</tool_call>"
        condition = f"and (eq .Name `{name}`) (eq $done {done})"
        parts.append(f"{{{{- if {condition} -}}}}{{{{- $script = `{say(text)}` -}}}}{{{{- end -}}}}")
    return "".join(parts)


def _calls(file: str) -> dict[str, list[tuple[int, dict[str, Any]]]]:
    """By the tools' names: after how many results which call comes."""
    old, new = "helo", "hello"
    return {
        "exec_command": [(0, _call("exec_command", cmd=f"sed -i s/{old}/{new}/ {file}"))],
        "Read": [
            (0, _call("Read", file_path=file, filepath=file)),
        ],
        "Edit": [(1, _call("Edit", file_path=file, old_string=old, new_string=new))],
        "read": [(0, _call("read", filePath=file))],
        "edit": [(1, _call("edit", filePath=file, oldString=old, newString=new))],
        "edit_file": [(0, _call("edit_file", path=file, old=old, new=new))],
    }


def _call(name: str, **arguments: str) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}
