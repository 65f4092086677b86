"""The words that all rooms share about one generation: what is asked, what comes back, how it ended.

Pure data (msgspec structs), importable from everywhere; knows no model, no process and no HTTP.
"""

from __future__ import annotations

import enum
from itertools import pairwise
from typing import Literal

import msgspec

from localai_flask.errors import ErrorInfo

FETCHING_SHARE = 0.9
"""How much of the progress of loading is the download, where a model's files have to be fetched first."""
JSON_SPACE = r" |\n{1,2}[ \t]{0,20}"
"""What a model may write between the parts of JSON that it is held to, if anything: a regular expression.

Models have learned from JSON with spaces and indentation, and choose worse values when they are held to none. It is
bounded, so that no answer pads itself for ever, as in the grammars that llama.cpp makes of schemas.
"""
MARK_OPENING, MARK_CLOSING = "\ufdd1", "\ufdd2"
"""What is around the mark of an image or a document in a text, until this is put in its place: noncharacters, which
templates pass on like any other text, and which nobody writes."""
ALL_CONSTRAINTS = frozenset(("json_schema", "regex", "gbnf", "lark", "trigger", "parts"))
"""The kinds of forms, whether they may begin behind a trigger, and whether they may be made of parts."""


class FinishReason(enum.StrEnum):
    """Why a sequence ended; each API family has one table from these to its own words."""

    EOS = "eos"
    STOP_SEQUENCE = "stop_sequence"
    MAX_TOKENS = "max_tokens"
    CONTEXT = "context"
    TOOL_CALLS = "tool_calls"


class Image(msgspec.Struct, frozen=True, array_like=True):
    """An image of a prompt: where in its text it stands, its file as it came, and the file's SHA-256."""

    at: int
    data: bytes
    media_type: str
    width: int
    height: int
    digest: str


class Prompt(msgspec.Struct, frozen=True, array_like=True):
    """What the model reads: text, or token ids when the client sent those.

    `special` lets the tokenizer read markers such as `<|im_end|>` in the text as control tokens; `add_bos` puts the
    model's begin-of-sequence token first if its vocabulary wants one and the text does not begin with it already.
    With a `suffix` the model writes what stands between the text and it; engines that say "infill" can. `plain` are
    ranges of the text, in order, in which no marker is a control token; each ends at one, or at the text's end.
    `images` stand in the text, in order. `files` (names and texts) are shown before a text whose middle is wanted.
    """

    text: str = ""
    tokens: list[int] | None = None
    special: bool = True
    add_bos: bool = True
    suffix: str | None = None
    plain: list[tuple[int, int]] = []
    images: list[Image] = []
    files: list[tuple[str, str]] = []

    @property
    def pieces(self) -> list[tuple[str, bool]]:
        """The text in the pieces that are tokenized apart, and whether markers in them are control tokens."""
        return self._pieces(0, len(self.text))

    @property
    def texts(self) -> list[str]:
        """The text before, between and behind the images."""
        places = [0, *(image.at for image in self.images), len(self.text)]
        return [self.text[begin:end] for begin, end in pairwise(places)]

    @property
    def parts(self) -> list[list[tuple[str, bool]] | Image]:
        """The pieces of text before, between and behind the images, and these."""
        parts: list[list[tuple[str, bool]] | Image] = []
        at = 0
        for image in self.images:
            parts += [self._pieces(at, image.at), image]
            at = image.at
        return [*parts, self._pieces(at, len(self.text))]

    def _pieces(self, first: int, last: int) -> list[tuple[str, bool]]:
        pieces, at = [], first
        for begin, end in ((max(begin, first), min(end, last)) for begin, end in self.plain):
            if begin < end:
                pieces += [(self.text[at:begin], self.special), (self.text[begin:end], False)]
                at = end
        return [(text, special) for text, special in (*pieces, (self.text[at:last], self.special)) if text]


class Adapter(msgspec.Struct, frozen=True, array_like=True):
    """A LoRA adapter: its file or folder in the models folder, and how strongly it acts (1: as it was trained to)."""

    file: str
    scale: float = 1.0


class Constraint(msgspec.Struct, frozen=True, array_like=True):
    """A form that the whole text must have; with a trigger, only what stands behind each trigger, to the form's end.

    The text of a Lark grammar may name other constraints, its `parts`, as `@name`. `param` is the field of the request
    that it comes from. With `is_final`, the end of the first form that was triggered ends the text. A schema that
    `is_lax` and cannot be enforced means any JSON of its type. A part with an `end` stands before this mark and brings
    it along: before a quote it is written as in a JSON string, before any other the mark cannot be in it.
    """

    kind: Literal["json_schema", "regex", "gbnf", "lark"]
    text: str
    param: str = ""
    trigger: str | None = None
    parts: dict[str, Constraint] = {}
    is_final: bool = False
    is_lax: bool = False
    end: str = ""

    @property
    def needs(self) -> frozenset[str]:
        """What an engine has to be able to for it: kinds of forms, and "trigger" and "parts"."""
        inner = [part.needs for part in self.parts.values()]
        own = {self.kind, *(["trigger"] if self.trigger is not None else []), *(["parts"] if self.parts else [])}
        return frozenset(own).union(*inner)


class ThinkingBudget(msgspec.Struct, frozen=True, array_like=True):
    """How many tokens a model may think: then `end` is written for it, and its answer begins.

    Thinking begins with the text `start`, or with the answer's first token if the prompt has opened it. A `message` is
    written before an end that the model has not begun itself.
    """

    tokens: int
    start: str
    end: str
    is_open: bool = False
    message: str = ""


class Usage(msgspec.Struct, frozen=True, array_like=True):
    """Token counts of one sequence: the rendered prompt, its part found in the cache, and every token decoded.

    `reasoning_tokens` are those of the completion that became thinking; who reads the text counts them. `kept_tokens`
    are those of the prompt that were computed and that the cache keeps for the time asked for.
    """

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    kept_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class Timings(msgspec.Struct, frozen=True, array_like=True):
    """Where the time of one sequence went, in milliseconds, and how many drafted tokens were proposed and accepted."""

    queue_ms: float = 0.0
    prompt_ms: float = 0.0
    decode_ms: float = 0.0
    draft_tokens: int = 0
    accepted_tokens: int = 0


class TokenLogprob(msgspec.Struct, frozen=True, array_like=True):
    """The log-probability of one token before sampling, and its best alternatives as (id, bytes, logprob)."""

    id: int
    text: bytes
    logprob: float
    top: list[tuple[int, bytes, float]] = []


class Started(msgspec.Struct, frozen=True, array_like=True, tag="started"):
    """The prompt was accepted and is being processed; `kept_tokens` as in `Usage`."""

    prompt_tokens: int
    cached_tokens: int = 0
    kept_tokens: int = 0


class Progress(msgspec.Struct, frozen=True, array_like=True, tag="progress"):
    """Prompt tokens processed so far."""

    done: int
    total: int


class PromptLogprobs(msgspec.Struct, frozen=True, array_like=True, tag="prompt_logprobs"):
    """The log-probabilities of the prompt's next tokens, in order; the very first one has none and is given as 0."""

    tokens: list[TokenLogprob]


class Delta(msgspec.Struct, frozen=True, array_like=True, tag="delta"):
    """Text that is whole UTF-8 and cannot be part of a stop string; never empty unless it carries logprobs.

    `tokens` is how many tokens were generated since the last delta.
    """

    text: str
    logprobs: list[TokenLogprob] = []
    tokens: int = 0

    def followed_by(self, later: Delta) -> Delta:
        """Join two deltas of one sequence."""
        return Delta(self.text + later.text, self.logprobs + later.logprobs, self.tokens + later.tokens)


class Finished(msgspec.Struct, frozen=True, array_like=True, tag="finished"):
    """The last word about a sequence that ended well."""

    reason: FinishReason
    usage: Usage
    timings: Timings = Timings()
    stop_sequence: str | None = None


class Failed(msgspec.Struct, frozen=True, array_like=True, tag="failed"):
    """The last word about a sequence that did not."""

    error: ErrorInfo


Reply = Started | Progress | PromptLogprobs | Delta | Finished | Failed


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What the web side needs to know of a loaded model, told once so as not to ask again.

    `context_length` is per request, in tokens; `constraints` are what the engine can hold answers to, in the words of
    `Constraint.needs`; `memory_bytes` counts weights and KV cache. `tool_template` is the chat
    template for conversations with tools, where the model has one of its own; `control_tokens` are the names of those
    that mark turns and the like, which no text of a message may become. `given_up` names what the model runs
    without, and how to get it back, where loading it in full had killed its process.
    """

    backend: str
    engine_version: str
    context_length: int
    capabilities: frozenset[str]
    constraints: frozenset[str] = ALL_CONSTRAINTS
    chat_template: str | None = None
    tool_template: str | None = None
    control_tokens: tuple[str, ...] = ()
    bos_token: str = ""
    eos_token: str = ""
    trained_context: int = 0
    memory_bytes: int = 0
    gpu_bytes: int = 0
    """What of that lies in the memory of GPUs, where the engine knows it."""
    description: str = ""
    slots: int = 0
    """Requests that one worker runs at once; filled in where the model was loaded."""
    given_up: str = ""
