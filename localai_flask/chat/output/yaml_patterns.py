"""Calls that regular expressions of a model's YAML find in its answers, and the pseudo-function for plain answers.

An answer has to be whole before an expression can judge it, so its text is held until then; its thinking streams.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable

import msgspec
import regex

from localai_flask.chat.answer import Answer, Content, Event, Finish, Reader, ToolArguments, ToolCallStart
from localai_flask.chat.formats import json_calls
from localai_flask.chat.formats.base import CallSyntax, ToolFormat
from localai_flask.chat.formats.configured import json_keys
from localai_flask.chat.output.event_writer import new_call_id
from localai_flask.chat.output.reader import ENDED_BY_ITSELF, OutputReader
from localai_flask.config.functions import FunctionOptions, Replacement
from localai_flask.config.patterns import TIMEOUT_S, compiled, too_slow
from localai_flask.generation import Delta, Finished, FinishReason, TokenLogprob, Usage

_REFERENCE = re.compile(r"\$(?:(\$)|\{(\w+)\}|(\w+))")
Found = list[tuple[str, str]]
"""Names and arguments of calls."""


class PatternReader:
    """Holds the content of another reader, and looks for calls in it at its end.

    `make_native` makes a reader for the model's own format, asked where the expressions find nothing.
    """

    def __init__(self, reader: Reader, options: FunctionOptions, make_native: Callable[[], Reader]):
        self._reader, self._options, self._make_native = reader, options, make_native
        self._text = ""
        self._logprobs: list[TokenLogprob] = []

    def feed(self, delta: Delta) -> list[Event]:
        return self._without_content(self._reader.feed(delta))

    def finish(self, finished: Finished) -> list[Event]:
        events = self._without_content(self._reader.finish(finished))
        finish = events.pop()
        assert isinstance(finish, Finish)
        content, calls = self._judge(finished)
        if content:
            events.append(Content(content))
        for number, (name, arguments) in enumerate(calls):
            events += [ToolCallStart(number, new_call_id(), name), ToolArguments(number, arguments)]
        reason = FinishReason.TOOL_CALLS if calls and finished.reason in ENDED_BY_ITSELF else finish.reason
        logprobs = self._logprobs + finish.logprobs
        return [*events, msgspec.structs.replace(finish, reason=reason, logprobs=logprobs)]

    def _without_content(self, events: list[Event]) -> list[Event]:
        rest: list[Event] = []
        for event in events:
            if isinstance(event, Content):
                self._text += event.text
                self._logprobs += event.logprobs
            else:
                rest.append(event)
        return rest

    def _judge(self, finished: Finished) -> tuple[str, Found]:
        """Return the content and the calls of the whole text."""
        options = self._options
        captured = first_group("function.capture_llm_results", options.capture_llm_results, self._text)
        text = replaced("function.replace_llm_results", options.replace_llm_results, self._text)
        plain = replaced("function.replace_function_results", options.replace_function_results, text)
        calls = find_calls(options, plain)
        if calls or options.disable_peg_parser:
            return (captured.strip() if calls else text), calls
        native = _read(self._make_native(), text, finished.reason)
        found = [(call.name, call.arguments) for call in native.tool_calls]
        return (captured.strip() or native.content if found else native.content), found


def _read(reader: Reader, text: str, reason: FinishReason = FinishReason.EOS) -> Answer:
    answer = Answer()
    for event in [*reader.feed(Delta(text)), *reader.finish(Finished(reason, Usage(0, 0)))]:
        answer.add(event)
    return answer


def find_calls(options: FunctionOptions, text: str) -> Found:
    """Find calls: by `response_regex`, or as JSON in what `json_regex_match` matches, or anywhere."""
    texts = [text]
    for source in options.json_regex_match:
        if matches := list(_matches("function.json_regex_match", source, text)):
            texts = [match[1] if match.re.groups else match[0] for match in matches]
            break
    if options.response_regex:
        return [call for each in texts for call in _by_regex(options, each)]
    read = json_calls.calls(keys=json_keys(options))
    form = ToolFormat("json", tuple(CallSyntax(char, read, reads_opening=True) for char in "{["))
    answers = [_read(OutputReader(form), each) for each in texts]
    return [(call.name, call.arguments) for answer in answers for call in answer.tool_calls]


def _by_regex(options: FunctionOptions, text: str) -> Found:
    calls: Found = []
    name_key, arguments_key = options.function_name_key or "name", options.function_arguments_key or "arguments"
    for source in options.response_regex:
        for match in _matches("function.response_regex", source, text):
            groups = match.groupdict()
            name, written = groups.get(name_key) or "", groups.get(arguments_key) or ""
            arguments = _pairs(options, written) if options.argument_regex else json_calls.object_text(written)
            if name and arguments is not None:
                calls.append((name.strip(), arguments))
    return calls


def _pairs(options: FunctionOptions, written: str) -> str:
    """Make an object of the keys and values that `argument_regex` finds; values are texts."""
    pairs = {}
    for source in options.argument_regex:
        for match in _matches("function.argument_regex", source, written):
            groups = match.groupdict()
            if key := groups.get(options.argument_regex_key_name):
                pairs[key] = groups.get(options.argument_regex_value_name) or ""
    return json_calls.encode(pairs)


def _matches(key: str, source: str, text: str) -> Iterable[regex.Match[str]]:
    try:
        return list(compiled(source).finditer(text, timeout=TIMEOUT_S))
    except TimeoutError:
        raise too_slow(key, source) from None


def first_group(key: str, sources: Iterable[str], text: str) -> str:
    """Return the first group of the first expression that matches; "" if none does."""
    for source in sources:
        for match in _matches(key, source, text):
            return (match[1] if match.re.groups else match[0]) or ""
    return ""


def replaced(key: str, replacements: Iterable[Replacement], text: str) -> str:
    """Replace what expressions match, one after the other, in Go's notation (`${1}`, `$name`)."""
    for each in replacements:
        try:
            text = compiled(each.key).sub(functools.partial(_expand, each.value), text, timeout=TIMEOUT_S)
        except TimeoutError:
            raise too_slow(key, each.key) from None
    return text


def _expand(template: str, match: regex.Match[str]) -> str:
    def group(reference: re.Match[str]) -> str:
        if reference[1]:
            return "$"
        name = reference[2] or reference[3]
        try:
            return match[int(name) if name.isdecimal() else name] or ""
        except IndexError:
            return ""

    return _REFERENCE.sub(group, template)


class NoActionReader:
    """Turns calls of the pseudo-function for plain answers into content: its argument `message`."""

    def __init__(self, reader: Reader, name: str):
        self._reader, self._name = reader, name
        self._numbers: dict[int, int] = {}
        self._said = ""
        self._is_answering = False

    def feed(self, delta: Delta) -> list[Event]:
        return [event for each in self._reader.feed(delta) for event in self._turned(each)]

    def finish(self, finished: Finished) -> list[Event]:
        return [event for each in self._reader.finish(finished) for event in self._turned(each)]

    def _turned(self, event: Event) -> list[Event]:
        match event:
            case ToolCallStart(index, id, name):
                answered = self._answer()
                self._is_answering = name == self._name
                if self._is_answering:
                    return answered
                self._numbers[index] = len(self._numbers)
                return [*answered, ToolCallStart(self._numbers[index], id, name)]
            case ToolArguments(index, text):
                if not self._is_answering:
                    return [ToolArguments(self._numbers[index], text)]
                self._said += text
                return []
            case Finish(reason):
                if reason == FinishReason.TOOL_CALLS and not self._numbers:
                    event = msgspec.structs.replace(event, reason=FinishReason.EOS)
                return [*self._answer(), event]
        return [event]

    def _answer(self) -> list[Event]:
        said, self._said, self._is_answering = self._said, "", False
        try:
            message = msgspec.json.decode(said, type=dict[str, object]).get("message") if said else ""
        except msgspec.DecodeError:
            return [Content(said)]  # it was cut; what there is of it is shown as it stands
        return [Content(message)] if isinstance(message, str) and message else []
