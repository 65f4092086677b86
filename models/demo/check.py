#!/usr/bin/env python3
"""Ask the demo model the examples of check.toml, then names it was never trained on, all at temperature 0.

    python models/demo/check.py [MODEL.gguf]

Needs llama-cpp-python and jinja2. The exit status is 1 if an example fails; the rates on unseen names are only printed.
"""

import json
import re
import sys
import tomllib
from pathlib import Path

import jinja2.sandbox
import names
from llama_cpp import Llama

HERE = Path(__file__).parent
CHECK = tomllib.loads((HERE / "check.toml").read_text(encoding="utf-8"))
TOOLS = {name: {"type": "function", "function": {"name": name, **tool}} for name, tool in CHECK["tools"].items()}
WEATHER, CURRENT_WEATHER, SHARE = TOOLS["get_weather"], TOOLS["get_current_weather"], TOOLS["lookup_share"]


class Demo:
    """The model behind its own chat template."""

    def __init__(self, path: Path):
        self.llama = Llama(str(path), n_ctx=2048, n_threads=2, verbose=False)
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment()
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        self.template = environment.from_string(self.llama.metadata["tokenizer.chat_template"])

    def complete(self, prompt: str) -> str:
        """Continue a raw text until the model ends it."""
        choice = self.llama.create_completion(prompt, temperature=0, max_tokens=200)["choices"][0]
        return choice["text"] + ("" if choice["finish_reason"] == "stop" else " [does not end]")

    def chat(self, *messages: dict, tools: list[dict] | None = None) -> str:
        """Answer a chat."""
        return self.complete(self.template.render(messages=messages, tools=tools, add_generation_prompt=True))


def user(content: str) -> dict:
    """Say something as the user."""
    return {"role": "user", "content": content}


def assistant(content: str) -> dict:
    """Say something as the assistant."""
    return {"role": "assistant", "content": content}


def calling(name: str, calls: list[dict]) -> dict:
    """Make the assistant's turn that calls a tool."""
    functions = [{"name": name, "arguments": json.dumps(call, ensure_ascii=False)} for call in calls]
    turns = [{"type": "function", "function": function} for function in functions]
    return {"role": "assistant", "content": None, "tool_calls": turns}


def hermes(name: str, *calls: dict) -> str:
    """Write calls as the model should."""
    bodies = [json.dumps({"name": name, "arguments": call}, ensure_ascii=False) for call in calls]
    return "\n".join(f"<tool_call>\n{body}\n</tool_call>" for body in bodies)


def ask(demo: Demo, example: dict) -> tuple[str, str]:
    """Ask one example; return the answer and the pattern it must match."""
    if "raw" in example:
        return demo.complete(example["raw"]), example["answer"]
    messages, named = [user(example["user"])], example.get("tools", [])
    if "system" in example:
        messages.insert(0, {"role": "system", "content": example["system"]})
    if "result" in example:
        messages += [calling(named[-1], example["calls"]), {"role": "tool", "content": example["result"]}]
    pattern = example.get("answer") or re.escape(hermes(named[-1], *example["calls"]))
    return demo.chat(*messages, tools=[TOOLS[name] for name in named]), pattern


def check_examples(demo: Demo) -> int:
    """Print every example with its answer; return how many failed."""
    failed = 0
    for example in CHECK["examples"]:
        answer, pattern = ask(demo, example)
        passed = re.fullmatch(pattern, answer, re.DOTALL) is not None
        failed += not passed
        asked = {key: value for key, value in example.items() if key not in ("answer", "calls")}
        print(f"{'pass' if passed else 'FAIL'}  {asked}\n      {answer!r}", flush=True)
    print(f"{len(CHECK['examples']) - failed} of {len(CHECK['examples'])} examples pass\n")
    return failed


def remembered(demo: Demo, name: str) -> str:
    """Ask for a name two turns after it was told."""
    greeting = [user("Hello!"), assistant("Hello! How can I help you?")]
    told = [user(f"My name is {name}."), assistant(f"Nice to meet you, {name}!")]
    return demo.chat(*told, *greeting, user("What is my name?"))


def reported(demo: Demo, city: str) -> str:
    """Ask for an answer after a tool has returned."""
    result = {"role": "tool", "content": '{"temperature": 17, "unit": "celsius", "description": "cloudy"}'}
    asked = user(f"What is the weather like in {city}?")
    return demo.chat(asked, calling("get_weather", [{"location": city}]), result, tools=[WEATHER])


def measure(title: str, strings: list[str], answers, expected) -> None:
    """Print how many strings get the expected answer, and a few that do not."""
    wrong = [(s, answer) for s in strings if (answer := answers(s)) != expected(s)]
    print(f"{len(strings) - len(wrong)}/{len(strings)}  {title}", flush=True)
    for string, answer in wrong[:8]:
        print(f"      {string}: {answer!r}")


def check_unseen(demo: Demo) -> None:
    """Measure how well names are copied that were never trained on."""
    cities, people = CHECK["cities"], CHECK["people"]
    known = set(names.PLACES + names.WIDE_PLACES + names.PEOPLE)
    assert not known & set(cities + people), "an unseen name is in the training text"
    measure(
        "weather calls",
        cities,
        lambda city: demo.chat(user(f"What is the weather like in {city}?"), tools=[WEATHER]),
        lambda city: hermes("get_weather", {"location": city}),
    )
    measure(
        "weather calls, with another tool beside it",
        cities,
        lambda city: demo.chat(user(f"What's the weather in {city} today?"), tools=[SHARE, CURRENT_WEATHER]),
        lambda city: hermes("get_current_weather", {"location": city}),
    )
    measure(
        "answers from a tool's result",
        cities,
        lambda city: reported(demo, city),
        lambda city: f"It is 17 degrees celsius and cloudy in {city}.",
    )
    measure(
        "names asked for two turns later",
        people,
        lambda name: remembered(demo, name),
        lambda name: f"Your name is {name}.",
    )
    measure(
        '"Say …!"',
        CHECK["sentences"],
        lambda words: demo.chat(user(f"Say {words}!")),
        lambda words: f"{words[0].upper()}{words[1:]}!",
    )
    measure('"Repeat: …"', cities + people, lambda words: demo.chat(user(f"Repeat: {words}")), str)


def main(path: Path = HERE.parent / "demo.gguf") -> int:
    """Run everything and print it."""
    demo = Demo(path)
    failed = check_examples(demo)
    check_unseen(demo)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
