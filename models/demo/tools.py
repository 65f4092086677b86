"""Tools in the OpenAI form, the questions that need them, their calls and their results.

A `Tool` is drawn afresh for every chat: its name, the names of its arguments and its descriptions vary, so that the model must read them.
Knows nothing about templates.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import names

Value = str | int | float


@dataclass(frozen=True)
class Kind:
    """What a tool is for: several names, arguments, questions and ways to report the result."""

    names: list[str]
    descriptions: list[str]
    arguments: list[tuple[list[str], str, Callable[[Random], Value]]]
    questions: list[str]
    report: Callable[[Random, list[Value]], tuple[str, str]]


@dataclass
class Tool:
    """One tool as a chat shows it."""

    kind: Kind
    name: str
    arguments: list[str]
    extras: dict = field(default_factory=dict)
    needed: list[str] = field(default_factory=list)
    description: str = ""

    def as_openai(self, rng: Random) -> dict:
        """Describe the tool as the API does, with its keys in any order."""
        properties = {}
        for name, (_, type_, _) in zip(self.arguments, self.kind.arguments):
            properties[name] = {"type": type_} | ({"description": hint(rng, name)} if rng.random() < 0.4 else {})
        properties |= self.extras
        parameters = shuffled(rng, {"type": "object", "properties": properties})
        if rng.random() < 0.75:
            parameters["required"] = self.arguments + self.needed
        function = {"name": self.name, "parameters": parameters} | ({"description": self.description} if self.description else {})
        return shuffled(rng, {"type": "function", "function": shuffled(rng, function)})


def shuffled(rng: Random, mapping: dict) -> dict:
    """Put the keys in another order, now and then."""
    keys = list(mapping)
    if rng.random() < 0.4:
        rng.shuffle(keys)
    return {key: mapping[key] for key in keys}


def hint(rng: Random, name: str) -> str:
    """Describe an argument."""
    place = rng.choice(("", ", e.g. San Francisco, CA")) if name in ("location", "city", "place") else ""
    return rng.choice((f"The {name}", f"the {name} to use", f"The {name.replace('_', ' ')}")) + place


def call(name: str, arguments: dict) -> dict:
    """Write a call as the chat API carries it, arguments as a string."""
    return {"type": "function", "function": {"name": name, "arguments": json.dumps(arguments, ensure_ascii=False)}}


def weather_report(rng: Random, values: list[Value]) -> tuple[str, str]:
    """Make up the weather, as JSON or as words, and tell it."""
    place, sky = values[0], rng.choice(("sunny", "rainy", "cloudy", "foggy", "snowy", "windy", "clear", "partly cloudy", "light rain", names.word(rng).lower()))
    warmth, unit = rng.randint(-20, 99), rng.choice(("celsius", "fahrenheit", "C", "F", "degrees"))
    if rng.random() < 0.35:
        text = rng.choice((f"{warmth} degrees and {sky}", f"{sky}, {warmth}°C", f"{sky}", f"{warmth} {unit}", f"{warmth}°F and {sky}"))
        return text, f"The weather in {place}: {text}."
    result: dict = {rng.choice(("temperature", "temperature", "temp")): rng.choice((warmth, warmth, str(warmth)))}
    told = f"{warmth}"
    if rng.random() < 0.6:
        result["unit"] = unit
        told += f" {unit}" if unit == "degrees" else f" degrees {unit}"
    else:
        told += " degrees"
    if rng.random() < 0.75:
        result[rng.choice(("description", "condition", "conditions", "forecast", "weather", "sky"))] = sky
        told += f" and {sky}"
    if rng.random() < 0.3:
        result = {rng.choice(("location", "city")): place} | result
    if rng.random() < 0.25:
        result[rng.choice(("humidity", "wind"))] = rng.randint(0, 99)
    return dumps(rng, shuffled(rng, result)), f"It is {told} in {place}."


def dumps(rng: Random, value: object) -> str:
    """Write JSON with or without spaces."""
    return json.dumps(value, ensure_ascii=False, separators=rng.choice(((", ", ": "), (",", ":"))))


def plain_report(key: str, made: Callable[[Random], Value], form: str) -> Callable[[Random, list[Value]], tuple[str, str]]:
    """Report one value under one key, told by a form that may name the arguments too."""
    def report(rng: Random, values: list[Value]) -> tuple[str, str]:
        result = made(rng)
        return (dumps(rng, {key: result}) if rng.random() < 0.6 else str(result)), form.format(*values, result=result)
    return report


def done_report(rng: Random, _: list[Value]) -> tuple[str, str]:
    """Report that something worked, or did not."""
    if rng.random() < 0.15:
        reason = names.phrase(rng, 3)
        return dumps(rng, {"error": reason}), f"That did not work: {reason}."
    return rng.choice(("ok", "done", "success", '{"status": "ok"}', '{"success":true}', "{}", '{"ok": true}')), "It is done."


def whole(rng: Random) -> int:
    """Draw a number that an argument of type integer takes."""
    return rng.randint(0, 10 ** rng.choice((1, 2, 2, 3)))


PLACE = ["location", "location", "city", "place", "city_name", "town", "where", "area", "loc"]
UNITS = ["unit", "units", "format", "scale"]
KINDS = [
    Kind(["get_weather", "get_weather", "get_current_weather", "weather", "weather_lookup", "current_weather", "fetch_weather", "get_forecast"],
         ["Get the current weather", "Get the current weather in a given location", "Get weather of a city", "Look up the weather", "Current weather"],
         [(PLACE, "string", names.place)],
         ["What is the weather like in {}?", "What's the weather like in {} today?", "What is the weather in {}?", "What's the weather in {}?",
          "weather in {}", "How warm is it in {}?", "Is it raining in {}?", "How is the weather in {} right now?", "Tell me the weather in {}.",
          "What is the temperature in {}?", "Do I need a coat in {}?", "What will the weather be in {} tomorrow?", "{} weather"],
         weather_report),
    Kind(["get_time", "get_current_time", "time_in", "clock"], ["Get the time", "Get the current time in a city", "Tell the time of a place"],
         [(PLACE + ["timezone", "zone"], "string", names.place)],
         ["What time is it in {}?", "What's the time in {}?", "time in {}", "Tell me the time in {}.", "How late is it in {}?"],
         plain_report("time", lambda r: f"{r.randint(0, 23)}:{r.randint(10, 59)}", "It is {result} in {0}.")),
    Kind(["search", "web_search", "search_web", "find"], ["Search the web", "Find pages", "Search for something"],
         [(["query", "q", "text", "terms"], "string", names.phrase)],
         ["Search for {}", "Search the web for {}.", "Find {}", "Look up {}", "google {}"],
         plain_report("result", names.phrase, "I found this: {result}")),
    Kind(["send_email", "send_message", "write_to", "email"], ["Send a message", "Send an email to someone"],
         [(["to", "recipient", "name", "person"], "string", names.person), (["text", "message", "body", "content"], "string", lambda r: names.phrase(r, 5))],
         ["Send {} the message: {}", "Write to {}: {}", "Tell {} this: {}", "Email {} the text {}", "Message {}: {}"], done_report),
    Kind(["add", "add_numbers", "sum", "plus"], ["Add two numbers", "Sum of two numbers"],
         [(["a", "x", "first"], "integer", whole), (["b", "y", "second"], "integer", whole)],
         ["What is {} plus {}?", "Add {} and {}", "{} + {}", "How much is {} and {}?", "What is {} + {}?"],
         plain_report("result", whole, "The result is {result}.")),
    Kind(["get_stock_price", "stock_price", "quote"], ["Get the price of a stock", "Look up a stock"],
         [(["symbol", "ticker", "company", "name"], "string", names.code)],
         ["What is the price of {}?", "How is {} doing?", "stock price of {}", "What does {} cost?"],
         plain_report("price", whole, "The price of {0} is {result}.")),
    Kind(["play_music", "play", "play_song"], ["Play music", "Play a song"], [(["song", "title", "artist", "track"], "string", names.person)],
         ["Play {}", "Play something by {}", "I want to hear {}", "Put on {}."], done_report),
    Kind(["set_timer", "start_timer", "timer", "set_alarm"], ["Set a timer", "Start a timer"],
         [(["minutes", "duration", "time"], "integer", whole)],
         ["Set a timer for {} minutes", "Wake me in {} minutes.", "timer {} minutes", "Start a timer of {} minutes"], done_report),
    Kind(["turn_on", "switch_on", "light_on", "set_light"], ["Turn on a light", "Switch something on"],
         [(["room", "device", "name", "lamp"], "string", names.word)],
         ["Turn on {}", "Switch on {}.", "Turn the light in {} on", "Light in {} please"], done_report),
    Kind(["translate", "translate_text"], ["Translate a text", "Translate into another language"],
         [(["text", "sentence", "words"], "string", lambda r: names.phrase(r, 5)), (["language", "target", "to"], "string", names.word)],
         ["Translate \"{}\" into {}", "How do you say {} in {}?", "Translate {} to {}"],
         plain_report("translation", lambda r: names.phrase(r, 5), "It means: {result}")),
    Kind(["book_flight", "find_flight", "get_route"], ["Find a flight", "Find the way between two places"],
         [(["from", "origin", "start", "source"], "string", names.place), (["to", "destination", "end"], "string", names.place)],
         ["Book a flight from {} to {}", "How do I get from {} to {}?", "I want to go from {} to {}.", "flight from {} to {}"],
         plain_report("price", whole, "From {0} to {1}: {result}.")),
]
WEATHER = KINDS[0]


def made_up(rng: Random) -> Kind:
    """Invent a tool that no one has heard of; the question says its name."""
    verb, noun = names.word(rng).lower(), names.word(rng).lower()
    name = rng.choice((f"{verb}_{noun}", verb, f"get_{noun}", f"{verb}{noun.capitalize()}", f"find_{noun}"))
    arguments = [([names.word(rng).lower()], "string", names.anything) for _ in range(rng.choice((1, 1, 2)))]
    questions = (["Use {name} on {}", "Call {name} with {}", "{name} {}", "Run {name} for {}", "Please use {name} with {}"] if len(arguments) == 1 else
                 ["Use {name} with {} and {}", "Call {name} with {} and {}", "Run {name} on {} and {}"])
    return Kind([name], [f"{verb.capitalize()} a {noun}", f"The {noun} of something"], arguments,
                [question.replace("{name}", name) for question in questions], plain_report("result", names.anything, "The result is {result}"))


def draw(rng: Random, kind: Kind) -> Tool:
    """Give a kind of tool its names for one chat."""
    argument_names: list[str] = []
    for choices, _, _ in kind.arguments:
        free = [name for name in choices if name not in argument_names]
        name = names.word(rng).lower() if not free or rng.random() < 0.15 else rng.choice(free)
        argument_names.append(name)
    tool = Tool(kind, rng.choice(kind.names), argument_names, description=rng.choice(kind.descriptions) if rng.random() < 0.85 else "")
    if kind is WEATHER and rng.random() < 0.4:
        unit = rng.choice(UNITS)
        tool.extras[unit] = {"type": "string", "enum": rng.sample(["celsius", "fahrenheit"], 2)}
        tool.needed = [unit] if rng.random() < 0.2 else []
    return tool
