"""Chats with tools: which tool a question needs, its call, and the answer from its result.

Knows nothing about templates.
"""

from random import Random

import names
import talk
import tools

ASIDES = (talk.say, talk.manners, talk.manners, talk.fact, talk.remember, talk.count, talk.story)
TWO_CITIES = (
    "What is the weather in {} and {}?",
    "What's the weather like in {} and in {}?",
    "Compare the weather in {} and {}.",
    "weather in {} and {}",
)


def toolbox(rng: Random, easy: bool = False) -> list[tools.Tool]:
    """Draw one to four tools with different names; half of the time one of them tells the weather."""
    kinds = rng.sample(list(tools.KINDS.values()), 1 if easy else rng.choice((1, 1, 2, 2, 2, 3, 3, 4)))
    if rng.random() < 0.5 and tools.WEATHER not in kinds:
        kinds[0] = tools.WEATHER
    if rng.random() < 0.3:
        kinds[-1] = tools.made_up(rng)
    rng.shuffle(kinds)
    return [tools.draw(rng, kind) for kind in kinds]


def errand(rng: Random, tool: tools.Tool) -> list[dict]:
    """Ask for one call, make it, and tell its result."""
    values = [tools.make(rng, argument["make"]) for argument in tool.kind["arguments"]]
    question = rng.choice(tool.kind["questions"]).format(*values)
    arguments = dict(zip(tool.arguments, values, strict=True))
    for name in tool.extras:
        if rng.random() < 0.4:
            arguments[name] = rng.choice(tool.extras[name]["enum"])
            question = f"{question.rstrip('?.')} in {arguments[name]}{'?' if question.endswith('?') else ''}"
        elif name in tool.needed:
            arguments[name] = tool.extras[name]["enum"][0]
    result, answer = tools.report(rng, tool.kind, values)
    return asked(rng, question) + carried_out([tools.call(tool.name, arguments)], [result], answer)


def two_errands(rng: Random, tool: tools.Tool) -> list[dict]:
    """Ask for two calls of one tool at once."""
    cities = [names.place(rng), names.place(rng)]
    reports = [tools.report(rng, tool.kind, [city]) for city in cities]
    calls = [tools.call(tool.name, {tool.arguments[0]: city}) for city in cities]
    question, answer = rng.choice(TWO_CITIES).format(*cities), " ".join(told for _, told in reports)
    return asked(rng, question) + carried_out(calls, [text for text, _ in reports], answer)


def asked(rng: Random, question: str) -> list[dict]:
    """Word the user's turn, with small changes that mean nothing."""
    if rng.random() < 0.1:
        question = question[0].lower() + question[1:]
    if rng.random() < 0.08:
        question = f"{rng.choice(('Please:', 'Hello!', 'Hi,', 'Quick question:'))} {question}"
    return [{"role": "user", "content": question}]


def carried_out(calls: list[dict], results: list[str], answer: str) -> list[dict]:
    """Follow a question with its calls, their results and the answer."""
    return (
        [{"role": "assistant", "content": "", "tool_calls": calls}]
        + [{"role": "tool", "content": result} for result in results]
        + [{"role": "assistant", "content": answer}]
    )


def exchange(rng: Random, box: list[tools.Tool]) -> list[dict]:
    """Make the turns of one subject, most of which need a tool."""
    if rng.random() < 0.2:
        return rng.choice(ASIDES)(rng)
    tool = rng.choice(box)
    for other in box:
        if other.kind is tools.WEATHER and rng.random() < 0.4:
            tool = other
    if tool.kind is tools.WEATHER and not tool.needed and rng.random() < 0.2:
        return two_errands(rng, tool)
    return errand(rng, tool)
