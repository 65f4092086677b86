"""Strings worth copying: names, numbers and phrases that cannot be learned by heart.

Owns the letters of the training text. Knows nothing about chats or tools.
"""

import tomllib
from pathlib import Path
from random import Random
from string import ascii_uppercase

WORDS = tomllib.loads((Path(__file__).parent / "words.toml").read_text(encoding="utf-8"))
PLACES: list[str] = WORDS["places"].split()
WIDE_PLACES: list[str] = WORDS["wide_places"]
PEOPLE: list[str] = WORDS["people"].split()
THINGS: list[str] = WORDS["things"].split()
QUALITIES: list[str] = WORDS["qualities"].split()
VERBS: list[str] = WORDS["verbs"].split()
SMALL: list[str] = WORDS["small_words"].split()

STARTS = WORDS["starts"].split() + [""] * 6
MIDDLES = WORDS["middles"].split()
ENDS = WORDS["ends"].split() + [""] * 16
LETTERS = "abcdefghijklmnopqrstuvwxyzaaeeiioourstlnm"


def syllables(rng: Random) -> str:
    """Make up a word that can be spoken."""
    made = ""
    for _ in range(rng.choice((1, 2, 2, 2, 3, 3))):
        made += rng.choice(STARTS) + rng.choice(MIDDLES)
        made += rng.choice(ENDS) if rng.random() < 0.4 else ""
    return (made + rng.choice(ENDS)).capitalize()


def splice(rng: Random) -> str:
    """Join the head of one word to the tail of another; words of the language lend pieces that names alone lack."""
    head, tail = (rng.choice(rng.choice((PLACES, PEOPLE, THINGS, QUALITIES, VERBS))) for _ in range(2))
    head, tail = head.capitalize(), tail.lower()
    return head[: rng.randint(1, len(head) - 1)] + tail[rng.randint(1, len(tail) - 1) :]


def scramble(rng: Random) -> str:
    """Draw letters blindly, so that no chunk of a name can be foreseen."""
    made = "".join(rng.choices(LETTERS, k=rng.randint(2, 9)))
    return made.capitalize() if rng.random() < 0.8 else made


def word(rng: Random) -> str:
    """Make up one name of one word."""
    return rng.choice((syllables, syllables, splice, scramble))(rng)


def place(rng: Random) -> str:
    """Name a place: seldom a real one, often of several words."""
    dice = rng.random()
    if dice < 0.12:
        return rng.choice(PLACES)
    if dice < 0.22:
        return rng.choice(WIDE_PLACES)
    if dice < 0.68:
        return word(rng)
    if dice < 0.82:
        return rng.choice(WORDS["place_frames"]).format(word(rng))
    if dice < 0.92:
        return f"{word(rng)}{rng.choice((' ', ' ', '-'))}{word(rng)}"
    region = word(rng) if rng.random() < 0.5 else "".join(rng.choices(ascii_uppercase, k=2))
    return f"{word(rng)}, {region}"


def person(rng: Random) -> str:
    """Name a person, sometimes with a family name."""
    first = rng.choice(PEOPLE) if rng.random() < 0.2 else word(rng)
    return f"{first} {word(rng)}" if rng.random() < 0.25 else first


def number(rng: Random) -> str:
    """Write a number of one to six digits, sometimes negative or with decimals."""
    digits = str(rng.randint(0, 10 ** rng.choice((1, 2, 2, 2, 3, 4, 6)) - 1))
    dice = rng.random()
    if dice < 0.15:
        return f"{digits}.{rng.randint(1, 9)}"
    return f"-{digits}" if dice < 0.2 and digits != "0" else digits


def code(rng: Random) -> str:
    """Make up a code of capitals and digits."""
    capitals = "".join(rng.choices(ascii_uppercase, k=rng.randint(1, 4)))
    low, high = rng.randint(0, 99), rng.randint(0, 999)
    return rng.choice((capitals, f"{capitals}{high}", f"{capitals}-{low}", f"{low}{capitals}"))


def phrase(rng: Random, longest: int = 8) -> str:
    """String plain and made-up words together, without regard to sense."""
    kinds = (plain, word, lower, number, code)
    chosen = rng.choices(kinds, (71, 15, 7, 4, 3), k=rng.randint(1, longest))
    return " ".join(kind(rng) for kind in chosen)


def plain(rng: Random) -> str:
    """Pick a word of the language."""
    return rng.choice(rng.choice((THINGS, QUALITIES, VERBS, SMALL)))


def lower(rng: Random) -> str:
    """Make up a word without capitals."""
    return word(rng).lower()


def anything(rng: Random) -> str:
    """Draw any string that a user might want kept letter by letter."""
    return rng.choice((place, place, person, number, code, phrase, phrase))(rng)
