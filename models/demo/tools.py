"""Tools in the OpenAI form, and what they report.

A `Tool` is drawn afresh for every chat: its name, the names of its arguments and its descriptions vary, so that the
model must read them. What tools are for stands in tools.toml. Knows nothing about templates.
"""

import json
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import names

KINDS: dict[str, dict] = tomllib.loads((Path(__file__).parent / "tools.toml").read_text(encoding="utf-8"))
WEATHER = KINDS["weather"]
PREFIXES = ("lookup", "fetch", "read", "check", "query", "do", "my", "run", "find", "get", "show")
UNITS = ("unit", "units", "format", "scale")
SKIES = ("sunny", "rainy", "cloudy", "foggy", "snowy", "windy", "clear", "partly cloudy", "light rain")
PLACE_HINTS = ("The city and state, e.g. San Francisco, CA", "The city name", "City and country", "The city")
SKY_KEYS = ("description", "condition", "conditions", "forecast", "weather", "sky")

Value = str | int


@dataclass
class Tool:
    """One tool as a chat shows it."""

    kind: dict
    name: str
    description: str
    arguments: list[str]
    extras: dict = field(default_factory=dict)
    needed: list[str] = field(default_factory=list)

    def as_openai(self, rng: Random) -> dict:
        """Describe the tool as the API does, with its keys in any order."""
        properties: dict[str, dict] = {}
        for name, argument in zip(self.arguments, self.kind["arguments"], strict=True):
            properties[name] = {"type": "integer" if argument["make"] == "whole" else "string"}
            if rng.random() < 0.4:
                properties[name]["description"] = hint(rng, name)
        parameters = shuffled(rng, {"type": "object", "properties": properties | self.extras})
        if rng.random() < 0.75:
            parameters["required"] = self.arguments + self.needed
        function = {"name": self.name, "parameters": parameters}
        if self.description:
            function["description"] = self.description
        return shuffled(rng, {"type": "function", "function": shuffled(rng, function)})


def draw(rng: Random, kind: dict) -> Tool:
    """Give a kind of tool its names for one chat."""
    arguments: list[str] = []
    for argument in kind["arguments"]:
        free = [name for name in argument["names"] if name not in arguments]
        arguments.append(names.lower(rng) if not free or rng.random() < 0.3 else rng.choice(free))
    description = rng.choice(kind["descriptions"]) if rng.random() < 0.85 else ""
    name = rng.choice(kind["names"])
    if rng.random() < 0.35:
        name = f"{rng.choice(PREFIXES)}_{rng.choice((names.lower(rng), name.split('_')[-1]))}"
    tool = Tool(kind, name, description, arguments)
    if kind is WEATHER and rng.random() < 0.4:
        unit = rng.choice(UNITS)
        tool.extras[unit] = {"type": "string", "enum": rng.sample(["celsius", "fahrenheit"], 2)}
        tool.needed = [unit] if rng.random() < 0.2 else []
    return tool


def made_up(rng: Random) -> dict:
    """Invent a kind of tool that no one has heard of; the question says its name."""
    verb, noun = names.lower(rng), names.lower(rng)
    name = rng.choice((f"{verb}_{noun}", verb, f"get_{noun}", f"{verb}{noun.capitalize()}", f"find_{noun}"))
    count = rng.choice((1, 1, 2))
    one = ("Use {name} on {}", "Call {name} with {}", "{name} {}", "Run {name} for {}", "Please use {name} with {}")
    two = ("Use {name} with {} and {}", "Call {name} with {} and {}", "Run {name} on {} and {}")
    return {
        "names": [name],
        "descriptions": [f"{verb.capitalize()} a {noun}", f"The {noun} of something"],
        "arguments": [{"make": "anything", "names": [names.lower(rng)]} for _ in range(count)],
        "questions": [form.replace("{name}", name) for form in (one if count == 1 else two)],
        "result": {"key": "result", "make": "anything", "told": "The result is {result}"},
    }


def make(rng: Random, what: str) -> Value:
    """Make up a value for an argument or a result."""
    if what == "whole":
        return rng.randint(0, 10 ** rng.choice((1, 2, 2, 3)))
    if what == "hour":
        return f"{rng.randint(0, 23)}:{rng.randint(10, 59)}"
    return names.phrase(rng, 5) if what == "saying" else getattr(names, what)(rng)


def call(name: str, arguments: dict) -> dict:
    """Write a call as the chat API carries it, arguments as a string."""
    return {"type": "function", "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}}


def report(rng: Random, kind: dict, values: list[Value]) -> tuple[str, str]:
    """Make up the result of a call, and the answer that tells it."""
    if kind is WEATHER:
        return weather_report(rng, values[0])
    if "result" not in kind:
        return done_report(rng)
    key, told = kind["result"]["key"], kind["result"]["told"]
    result = make(rng, kind["result"]["make"])
    return dumps(rng, {key: result}) if rng.random() < 0.6 else str(result), told.format(*values, result=result)


def weather_report(rng: Random, place: Value) -> tuple[str, str]:
    """Make up the weather, as JSON or as words, and tell it."""
    sky = names.lower(rng) if rng.random() < 0.1 else rng.choice(SKIES)
    warmth, unit = rng.randint(-20, 99), rng.choice(("celsius", "fahrenheit", "C", "F", "degrees"))
    if rng.random() < 0.35:
        forms = ("{0} degrees and {1}", "{1}, {0}°C", "{1}", "{0} {2}", "{0}°F and {1}")
        text = rng.choice(forms).format(warmth, sky, unit)
        return text, f"The weather in {place}: {text}."
    result: dict = {rng.choice(("temperature", "temperature", "temp")): rng.choice((warmth, warmth, str(warmth)))}
    told = f"{warmth} degrees"
    if rng.random() < 0.6:
        result["unit"] = unit
        told += "" if unit == "degrees" else f" {unit}"
    if rng.random() < 0.75:
        result[rng.choice(SKY_KEYS)] = sky
        told += f" and {sky}"
    if rng.random() < 0.3:
        result[rng.choice(("location", "city"))] = place
    if rng.random() < 0.25:
        result[rng.choice(("humidity", "wind"))] = rng.randint(0, 99)
    return dumps(rng, shuffled(rng, result)), f"It is {told} in {place}."


def done_report(rng: Random) -> tuple[str, str]:
    """Report that something worked, or did not."""
    if rng.random() < 0.15:
        reason = names.phrase(rng, 3)
        return dumps(rng, {"error": reason}), f"That did not work: {reason}."
    forms = ("ok", "done", "success", '{"status": "ok"}', '{"success":true}', "{}", '{"ok": true}')
    return rng.choice(forms), "It is done."


def hint(rng: Random, name: str) -> str:
    """Describe an argument."""
    if name in ("location", "city", "place") and rng.random() < 0.5:
        return rng.choice(PLACE_HINTS)
    return rng.choice((f"The {name}", f"the {name} to use", f"The {name.replace('_', ' ')}"))


def shuffled(rng: Random, mapping: dict) -> dict:
    """Put the keys in another order, now and then."""
    keys = list(mapping)
    if rng.random() < 0.4:
        rng.shuffle(keys)
    return {key: mapping[key] for key in keys}


def dumps(rng: Random, value: object) -> str:
    """Write JSON with or without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=rng.choice(((", ", ": "), (",", ":"))))
