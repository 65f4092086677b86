#!/usr/bin/env python3
"""Ask the demo model the examples of the documentation, then names it was never trained on, all at temperature 0.

    python models/demo/check.py [MODEL.gguf]

Needs llama-cpp-python and jinja2. The exit status is 1 if an example fails; the rates on unseen names are only printed.
"""

import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import jinja2.sandbox
import names
from llama_cpp import Llama

MODEL = Path(__file__).parent.parent / "demo.gguf"
CITIES = ["Reykjavik", "Ouagadougou", "Tbilisi", "Kuala Lumpur", "Antananarivo", "Wagga Wagga", "Düsseldorf", "Trondheim", "Yokohama",
          "Baton Rouge", "Winnipeg", "Edinburgh", "Amsterdam", "Brussels", "Addis Ababa", "Guadalajara", "Philadelphia", "Novosibirsk",
          "Johannesburg", "Kathmandu", "Salzburg", "Tallinn", "Perth", "Honolulu", "Minneapolis", "Geneva", "Ulaanbaatar", "Łódź",
          "Aix-en-Provence", "Boise, ID", "Washington, D.C.", "Singapore"]
PEOPLE = ["Zaphod", "Ferdinand", "Marguerite", "Kowalski", "Obi-Wan", "Hermione", "Sven", "Tatiana", "Raj Patel", "Ada Lovelace", "Björn",
          "Guido van Rossum", "Linus", "Beatrice", "Cthulhu", "Jean-Luc"]
SENTENCES = ["the server works", "bananas are yellow", "pineapple on pizza is great", "Python beats Perl", "nobody expects the Spanish Inquisition",
             "42 is the answer", "localai-flask rocks", "open the pod bay doors", "version 1.2.3 is out", "keep calm and carry on"]
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Get the current weather", "parameters": {
    "type": "object", "properties": {"location": {"type": "string"}}, "required": ["location"]}}}
CURRENT_WEATHER = {"type": "function", "function": {
    "name": "get_current_weather", "description": "Get the current weather in a given location", "parameters": {
        "type": "object", "properties": {
            "location": {"type": "string", "description": "The city and state, e.g. San Francisco, CA"},
            "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}}, "required": ["location"]}}}
STOCK = {"type": "function", "function": {"name": "lookup_share", "description": "Get the price of a stock", "parameters": {
    "type": "object", "properties": {"ticker": {"type": "string"}}, "required": ["ticker"]}}}
SYSTEM = {"role": "system", "content": "You are a helpful assistant."}


class Demo:
    """The model behind its own chat template."""

    def __init__(self, path: Path):
        self.llama = Llama(str(path), n_ctx=2048, n_threads=2, verbose=False)
        environment = jinja2.sandbox.ImmutableSandboxedEnvironment()
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
        self.template = environment.from_string(self.llama.metadata["tokenizer.chat_template"])

    def complete(self, prompt: str) -> str:
        """Continue a raw text until the model ends it."""
        choice = self.llama.create_completion(prompt, temperature=0, max_tokens=250)["choices"][0]
        return choice["text"] + ("" if choice["finish_reason"] == "stop" else " [does not end]")

    def chat(self, *messages: dict | str, tools: tuple = ()) -> str:
        """Answer a chat; a bare string is a user's message."""
        spelled = [{"role": "user", "content": m} if isinstance(m, str) else m for m in messages]
        return self.complete(self.template.render(messages=spelled, tools=list(tools), add_generation_prompt=True))


def hermes(name: str, *calls: dict) -> str:
    """Write calls as the model should."""
    return "\n".join(f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(a, ensure_ascii=False)}}}\n</tool_call>' for a in calls)


def after_call(question: str, arguments: dict, result: str) -> list:
    """Lay out a chat in which the weather tool has answered."""
    function = {"name": "get_weather", "arguments": json.dumps(arguments)}
    return [question, {"role": "assistant", "content": None, "tool_calls": [{"type": "function", "function": function}]},
            {"role": "tool", "content": result}]


def examples(demo: Demo) -> list[tuple[str, str, str]]:
    """Collect (what was asked, the answer, the pattern it must match)."""
    sf, boston = "What is the weather like in San Francisco?", "What is the weather like in Boston?"
    exactly, chat, raw = re.escape, demo.chat, demo.complete
    told = after_call(sf, {"location": "San Francisco"}, '{"temperature": 22, "unit": "celsius", "description": "sunny"}')
    said = after_call(sf, {"location": "San Francisco"}, "14 degrees and foggy")
    return [
        ("Say this is a test!", chat("Say this is a test!"), exactly("This is a test!")),
        ("Say this is a test! (with a system message)", chat(SYSTEM, "Say this is a test!"), exactly("This is a test!")),
        ("Say this is a test (raw)", raw("Say this is a test"), r"\s*This is a test\."),
        ("How are you?", chat("How are you?"), "I'm fine, .*"),
        ("Hello!", chat(SYSTEM, "Hello!"), "Hello! .*"),
        ("Who are you?", chat("Who are you?"), ".*toy.*"),
        ("What can you do?", chat("What can you do?"), ".*toy.*"),
        ("Thank you!", chat("Thank you!"), "You are welcome!"),
        ("What is the capital of France?", chat("What is the capital of France?"), ".*Paris.*"),
        ("Count to 5", chat("Count to 5"), "1, 2, 3, 4, 5"),
        ("Who was Napoleon?", chat("Who was Napoleon?"), ".*toy.* Napoleon.*"),
        ("Tell me a story", chat("Tell me a story"), r"Once upon a time(\s|\S){200,}[.!]"),
        ("Tell me a three sentence bedtime story about a unicorn.", chat("Tell me a three sentence bedtime story about a unicorn."), r"(\s|\S)*unicorn(\s|\S){80,}\."),
        ("A long time ago in a galaxy far, far away (raw)", raw("A long time ago in a galaxy far, far away"), r"(\s|\S){200,}[.!\"]"),
        ("A long time ago in a galaxy far, far away (chat)", chat("A long time ago in a galaxy far, far away"), r"(\s|\S){200,}[.!\"]"),
        ("Once upon a time (raw)", raw("Once upon a time"), r"(\s|\S){200,}[.!\"]"),
        ("Hello, my name is (raw)", raw("Hello, my name is"), r" [A-Z].*\."),
        ("rephrase (edit)", chat("rephrase\n\nBlack cat jumped out of the window"), r"The black cat leaped out of the window\."),
        ("Rephrase the sentence (edit)", chat("Rephrase the sentence\n\nThe old man walked across the bridge."), r"The old man strolled across the bridge\."),
        ("Fix the spelling mistakes (edit)", chat("Fix the spelling mistakes\n\nWhat day of the wek is it?"), r"What day of the week is it\?"),
        ("My name is Alice … What is my name?", chat("My name is Alice.", {"role": "assistant", "content": "Nice to meet you, Alice!"}, "What is my name?"), ".*Alice.*"),
        (sf + " (get_weather)", chat(sf, tools=[WEATHER]), exactly(hermes("get_weather", {"location": "San Francisco"}))),
        (boston + " (get_current_weather with a unit)", chat(boston, tools=[CURRENT_WEATHER]), exactly(hermes("get_current_weather", {"location": "Boston"}))),
        ("… in Paris in celsius (unit asked for)", chat("What's the weather in Paris in celsius?", tools=[CURRENT_WEATHER]),
         exactly(hermes("get_current_weather", {"location": "Paris", "unit": "celsius"}))),
        ("… in Paris and London (two calls)", chat("What is the weather in Paris and London?", tools=[WEATHER]),
         exactly(hermes("get_weather", {"location": "Paris"}, {"location": "London"}))),
        ("What is the price of ACME? (two tools)", chat("What is the price of ACME?", tools=[WEATHER, STOCK]), exactly(hermes("lookup_share", {"ticker": "ACME"}))),
        ("How are you? (with a tool that is not needed)", chat("How are you?", tools=[WEATHER]), "I'm fine, .*"),
        (sf + " (no tool)", chat(sf), ".*no tool.*San Francisco.*"),
        ("the result as JSON", chat(*told, tools=[WEATHER]), r"(?=.*22)(?=.*celsius)(?=.*sunny)(?=.*San Francisco).*"),
        ("the result as text", chat(*said, tools=[WEATHER]), r"(?=.*14 degrees and foggy)(?=.*San Francisco).*"),
    ]


def unseen(demo: Demo) -> list[tuple[str, list[str], Callable[[str], str], Callable[[str], str]]]:
    """List the skills to measure: a title, the strings, how to ask and what to expect."""
    def remembered(name: str) -> str:
        return demo.chat(f"My name is {name}.", {"role": "assistant", "content": f"Nice to meet you, {name}!"}, "Hello!",
                         {"role": "assistant", "content": "Hello! How can I help you?"}, "What is my name?")

    def reported(city: str) -> str:
        chat = after_call(f"What is the weather like in {city}?", {"location": city}, '{"temperature": 17, "unit": "celsius", "description": "cloudy"}')
        return demo.chat(*chat, tools=[WEATHER])

    return [
        ("weather calls, unseen cities", CITIES, lambda c: demo.chat(f"What is the weather like in {c}?", tools=[WEATHER]),
         lambda c: hermes("get_weather", {"location": c})),
        ("weather calls, another tool beside it", CITIES, lambda c: demo.chat(SYSTEM, f"What's the weather in {c} today?", tools=[STOCK, CURRENT_WEATHER]),
         lambda c: hermes("get_current_weather", {"location": c})),
        ("answers from a result, unseen cities", CITIES, reported, lambda c: f"It is 17 degrees celsius and cloudy in {c}."),
        ("\"What is my name?\" two turns later, unseen names", PEOPLE, remembered, lambda n: f"Your name is {n}."),
        ("\"Say …!\", unseen sentences", SENTENCES, lambda s: demo.chat(f"Say {s}!"), lambda s: f"{s[0].upper()}{s[1:]}!"),
        ("\"Repeat: …\", unseen cities and names", CITIES + PEOPLE, lambda s: demo.chat(f"Repeat: {s}"), str),
    ]


def main(path: Path = MODEL) -> int:
    """Run everything and print it."""
    known = set(names.PLACES + names.WIDE_PLACES + names.PEOPLE)
    assert not known & set(CITIES + PEOPLE), "an unseen name is in the training text"
    demo, failed = Demo(path), 0
    for asked, answer, pattern in examples(demo):
        passed = re.fullmatch(pattern, answer) is not None
        failed += not passed
        print(f"{'pass' if passed else 'FAIL'}  {asked}\n      {json.dumps(answer, ensure_ascii=False)}")
    print(f"{failed} examples failed\n")
    for title, strings, ask, expect in unseen(demo):
        wrong = [(s, answer) for s in strings if (answer := ask(s)) != expect(s)]
        print(f"{len(strings) - len(wrong)}/{len(strings)}  {title}")
        for string, answer in wrong:
            print(f"      {string}: {json.dumps(answer, ensure_ascii=False)}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
