"""`localai-flask bench`: how fast a running server answers, alone and with several streams at once."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import click
import msgspec

from localai_flask.cli.client.target import Target, with_server
from localai_flask.cli.models.names import ModelName, complete_models
from localai_flask.cli.output import Column, json_option, make_console, print_json, print_table

if TYPE_CHECKING:
    from localai_flask.cli.bench.measurement import Level

COLUMNS = (
    Column("STREAMS", is_number=True),
    Column("FIRST TOKEN", is_number=True),
    Column("SLOWEST", rank=1, is_number=True),
    Column("TOKENS/S EACH", is_number=True),
    Column("TOKENS/S ALL", is_number=True),
)


class Result(msgspec.Struct):
    model: str
    server: str
    load_s: float
    """What the first request took, which loads the model if it was not in memory; it counts in no level."""
    levels: list[Level]


def _streams(_: click.Context, __: click.Parameter, text: str) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or min(found) < 1 or max(found) > 256:
        raise click.BadParameter(f"{text!r} is no list of numbers from 1 to 256; write it like 1,4,8.")
    return found


@click.command(short_help="Measure how fast the running server answers.")
@click.argument("model", required=False, type=ModelName(), shell_complete=complete_models)
@click.option("--streams", default="1,4,8", show_default=True, callback=_streams, help="How many requests at once.")
@click.option("--tokens", default=64, show_default=True, type=click.IntRange(8), help="Tokens of each answer.")
@click.option("--prompt-words", default=100, show_default=True, type=click.IntRange(1), help="Words of each prompt.")
@click.option("--rounds", default=2, show_default=True, type=click.IntRange(1), help="Requests of each stream.")
@json_option
@with_server
def bench(
    model: str | None, streams: list[int], tokens: int, prompt_words: int, rounds: int, as_json: bool, target: Target
) -> None:
    """Measure how fast a MODEL of the running server answers.

    \b
    localai-flask bench
    localai-flask bench qwen3-8b --streams 1,2,4,8,16 --tokens 128
    localai-flask bench --url http://other:8000 --json

    FIRST TOKEN is the median wait for it, with the prompt computed whole: no two prompts begin alike. TOKENS/S EACH is
    the median rate of a stream from its first token on, TOKENS/S ALL what all streams got together in the whole time,
    prompts included. What else the machine does counts, too: measure on a quiet one.
    """
    from localai_flask.cli.bench.measurement import Shape, ask, measure
    from localai_flask.cli.chat.command import choose_model
    from localai_flask.cli.client.client import Client

    client = Client(target)
    shape = Shape(choose_model(client.models(), model, target.default_model), prompt_words, tokens)
    seed = random.SystemRandom().getrandbits(48)
    levels = []
    with make_console(stderr=True).status("loading the model") as status:
        load_s = ask(client, shape.body(seed)).last_s
        for count in streams:
            status.update(f"{count} stream{'s' * (count != 1)}")
            seed += 1_000_000
            levels.append(measure(target, shape, count, rounds, seed))
    result = Result(shape.model, target.shown, round(load_s, 3), levels)
    if as_json:
        print_json(result)
    else:
        _print(result)


def _print(result: Result) -> None:
    first = result.levels[0]
    click.echo(
        f"{result.model} at {result.server}: prompts of {first.prompt_tokens} tokens, answers of {first.tokens}.",
        err=True,
    )
    print_table(COLUMNS, [_row(level) for level in result.levels])
    if cached := sum(level.cached_tokens for level in result.levels):
        click.echo(f"{cached} tokens of prompts came out of a cache, as all begin with the template's.", err=True)


def _row(level: Level) -> list[str]:
    return [
        str(level.streams),
        f"{level.first_token_s:.2f} s",
        f"{level.slowest_first_token_s:.2f} s",
        f"{level.tokens_per_second_each:.1f}",
        f"{level.tokens_per_second:.1f}",
    ]
