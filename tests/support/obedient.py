"""An engine whose model wants to say a text, byte by byte, and is held to a form and to a budget as real ones are."""

from __future__ import annotations

from llguidance import LLTokenizer

from localai_flask.backends.grammars.compiler import Grammars
from localai_flask.backends.grammars.guide import Guide
from localai_flask.backends.output.thinking import ThinkingWatch
from localai_flask.generation import Delta, Finished, FinishReason, Reply, Started, Usage
from localai_flask.sampling_params import SamplingParams

LONGEST = 4000


class Bytes:
    """A vocabulary of all bytes, and one token that ends."""

    size, ends = 257, (256,)

    def piece(self, token: int) -> bytes:
        return bytes([token])


GRAMMARS = Grammars(Bytes(), LLTokenizer("byte"))


def say(wish: str, sampling: SamplingParams) -> list[Reply | None]:
    """Return what the model says: its wish as far as it may, and what is allowed where it may not."""
    guide = GRAMMARS.guide(sampling.constraint, {}) if sampling.constraint is not None else None
    watch = ThinkingWatch(sampling.thinking) if sampling.thinking is not None else None
    wanted, said, reason = list(wish.encode()), bytearray(), FinishReason.MAX_TOKENS
    forced: list[int] = []
    while len(said) < LONGEST:
        if watch is not None and not forced:
            forced = watch.ending(lambda text: list(text.encode()), guide.permits if guide else bool)
            _skip_thought(wanted, bytes(forced))
        token = forced.pop(0) if forced else _next(wanted, guide)
        if token is None:
            reason = FinishReason.EOS
            break
        said.append(token)
        if watch is not None:
            watch.feed(bytes([token]))
        if guide is not None:
            guide.accept(token)
            if guide.is_complete:
                reason = FinishReason.EOS
                break
    text = said.decode()
    pieces = [Delta(char, tokens=len(char.encode())) for char in text]
    return [Started(1), *pieces, Finished(reason, Usage(1, len(said)))]


def _next(wanted: list[int], guide: Guide | None) -> int | None:
    """Return the next byte; None if the answer ends."""
    if guide is None or not guide.is_armed:
        return wanted.pop(0) if wanted else None
    while wanted:
        token = wanted.pop(0)
        if guide.allows(token):
            return token
        if token not in b" \n":
            wanted.clear()
    if guide.allows(256):
        return None
    allowed = [token for token, may in enumerate(guide.allowed()[:256]) if may]
    return min(allowed, key=lambda token: b'"}]{:t1'.find(token) % 99)


def _skip_thought(wanted: list[int], ending: bytes) -> None:
    """Forget what was still to be thought."""
    mark = ending.strip()
    for length in range(len(mark), 2, -1):
        if (at := bytes(wanted).find(mark[-length:])) >= 0:
            del wanted[: at + length]
            break
