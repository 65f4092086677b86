"""How RWKV's models were trained to talk, which no file of a checkpoint says.

https://huggingface.co/BlinkDL/rwkv7-g1: turns begin with a name and are told apart by an empty line, so that none may
stand within one.
"""

CHAT_TEMPLATE = """\
{%- for message in messages -%}
{%- set name = {"user": "User", "assistant": "Assistant"}.get(message.role, "System") -%}
{%- set lines = (message.content or "").replace("\\r\\n", "\\n").split("\\n") | select -%}
{{- name + ": " + (lines | join("\\n") | trim) + "\\n\\n" -}}
{%- endfor -%}
{%- if add_generation_prompt -%}Assistant:{%- endif -%}
"""
TURN, OPENING = "\n\nUser:", "Assistant:"
"""What a model writes when it begins the user's turn, and how a prompt ends that opens the model's own."""
