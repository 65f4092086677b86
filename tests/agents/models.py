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


def _turns(known_by: str, calls: list[dict[str, Any]]) -> str:
    """Return the part of a template that, where a tool is offered, makes one call after the other."""
    parts = []
    for done, call in enumerate(calls):
        text = f"<tool_call>\n{json.dumps(call)}\n</tool_call>"
        condition = f"and (eq .Name `{known_by}`) (eq $done {done})"
        parts.append(f"{{{{- if {condition} -}}}}{{{{- $script = `{say(text)}` -}}}}{{{{- end -}}}}")
    return "".join(parts)


def _calls(file: str) -> dict[str, list[dict[str, Any]]]:
    """Return the calls that mend the file, by a tool that tells whose tools are offered."""
    old, new = "helo", "hello"
    edit = _call("Edit", file_path=file, old_string=old, new_string=new)
    return {
        "exec_command": [_call("exec_command", cmd=f"sed -i s/{old}/{new}/ {file}")],
        "Agent": [_call("Read", file_path=file), edit],
        "Checklist": [_call("Read", filepath=file), edit],
        "todowrite": [_call("read", filePath=file), _call("edit", filePath=file, oldString=old, newString=new)],
        "edit_file": [_call("edit_file", path=file, old=old, new=new)],
    }


def _call(name: str, **arguments: str) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}
