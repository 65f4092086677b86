"""What reading an answer back costs: microseconds per character, and how that grows with the answer's length.

Texts that made earlier readers look at the same characters again and again; a ratio of 1.0 is linear. Needs no model.

    python -m benchmarks.reading
"""

from __future__ import annotations

import statistics
import time

from localai_flask.chat.formats import TOOL_FORMATS
from localai_flask.chat.output.reader import OutputReader
from localai_flask.chat.output.reasoning_marks import Reasoning
from localai_flask.chat.output.yaml_patterns import find_calls
from localai_flask.config.functions import FunctionOptions
from localai_flask.generation import Delta, Finished, FinishReason, Usage

LENGTHS = (10_000, 40_000)
ROUNDS = 5
PIECE = 4
"""Characters of a token."""
CASES = {
    "plain text": ("hermes", "", "word and ", ""),
    "white space": ("hermes", "", "\n", ""),
    "white space in a call": ("hermes", "<tool_call>", " ", ""),
    "what could be a marker": ("hermes", "", "<", ""),
    "a JSON argument": ("hermes", '<tool_call>{"name": "f", "arguments": {"a": "', "x", '"}}</tool_call>'),
    "an argument before its name": ("hermes", '<tool_call>{"arguments": {"a": "', "x", '"}, "name": "f"}</tool_call>'),
    "a Python argument (Llama 4)": ("llama4", "[f(a='", "x", "')]"),
    "a Python argument (LFM2)": ("lfm2", '<|tool_call_start|>[f(a="', "x y", '")]<|tool_call_end|>'),
    "a Python argument (Gemma 3)": ("hermes", "```tool_code\nf(a='", "x", "')\n```"),
    "a quoted argument (Gemma 4)": ("gemma4", '<|tool_call>call:f{a:<|"|>', "x", '<|"|>}<tool_call|>'),
    "an argument in a tag (GLM)": (
        "glm",
        "<tool_call>f<arg_key>a</arg_key><arg_value>",
        "x",
        "</arg_value></tool_call>",
    ),
    "calls without end": ("hermes", "", '<tool_call>{"name":"f","arguments":{}}</tool_call>', ""),
    "thoughts without end": ("hermes", "", "<think>a</think>\n", ""),
}


def read_seconds(form: str, text: str) -> float:
    """Read a text in the pieces that tokens come in."""
    reader = OutputReader(TOOL_FORMATS[form], functions={"f": {}}, reasoning=Reasoning())
    begun = time.perf_counter()
    for at in range(0, len(text), PIECE):
        reader.feed(Delta(text[at : at + PIECE]))
    reader.finish(Finished(FinishReason.EOS, Usage(1, 1)))
    return time.perf_counter() - begun


def search_seconds(text: str) -> float:
    """Look for calls anywhere in a whole text."""
    begun = time.perf_counter()
    find_calls(FunctionOptions(), text)
    return time.perf_counter() - begun


def report(name: str, short: list[float], long: list[float]) -> None:
    costs = [statistics.median(each) / length * 1e6 for each, length in zip((short, long), LENGTHS, strict=True)]
    print(f"{name:30} {costs[0]:8.2f} {costs[1]:8.2f} {costs[1] / costs[0]:8.2f}")


def main() -> None:
    print(f"{'':30} {'µs per character of':>17}\n{'':30} {LENGTHS[0]:8} {LENGTHS[1]:8} {'ratio':>8}")
    for name, (form, head, part, tail) in CASES.items():
        texts = [head + part * (length // len(part)) + tail for length in LENGTHS]
        report(name, *([read_seconds(form, text) for _ in range(ROUNDS)] for text in texts))
    texts = ['{"a":' * (length // 5) for length in LENGTHS]
    report("nested objects, searched", *([search_seconds(text) for _ in range(ROUNDS)] for text in texts))


if __name__ == "__main__":
    main()
