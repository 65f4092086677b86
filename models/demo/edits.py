"""Edits: rephrase a sentence, mend its spelling. The prompt is the instruction, an empty line, the text.

Owns the table of answers that are learned by heart, `ANSWERS`, since edits are made of them too.
Knows nothing about the rest of the chat.
"""

import tomllib
from pathlib import Path
from random import Random

import names

ANSWERS = tomllib.loads((Path(__file__).parent / "answers.toml").read_text(encoding="utf-8"))
SYNONYMS: dict[str, str] = names.WORDS["synonyms"]
WAYS: list[str] = names.WORDS["ways"]
GAPS = ("\n\n", "\n\n", "\n\n", "\n\n", "\n\n", "\n\n", ": ", "\n")


def turn(question: str, answer: str) -> list[dict]:
    """Pair one question with its answer."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def capitalised(text: str) -> str:
    """Raise the first letter and leave the rest alone."""
    return text[:1].upper() + text[1:]


def noun(rng: Random) -> str:
    """Pick a noun, often a made-up one, so that the model must read it."""
    return names.lower(rng) if rng.random() < 0.3 else rng.choice(names.THINGS)


def rephrase(rng: Random) -> list[dict]:
    """Give a sentence its articles and another verb, and keep the rest."""
    quality = rng.choice(names.QUALITIES) if rng.random() < 0.85 else names.lower(rng)
    subject = f"{quality} {noun(rng)}" if rng.random() < 0.8 else noun(rng)
    verb = rng.choice(list(SYNONYMS))
    place = f"{rng.choice(WAYS)} {rng.choice(('the', 'the', 'the', 'a', 'my'))} {noun(rng)}"
    article = rng.choice(("", "", "the ", "a ", "my "))
    source = f"{article}{subject} {verb} {place}"
    if rng.random() < 0.8:
        source = capitalised(source)
    question = rng.choice(ANSWERS["rephrase_orders"]) + rng.choice(GAPS) + source + rng.choice(("", "", "."))
    return turn(question, capitalised(f"{article or 'the '}{subject} {SYNONYMS[verb]} {place}."))


def misspell(rng: Random, word: str) -> str:
    """Drop, swap or double a letter inside a word."""
    if len(word) < 4 or not word.isalpha():
        return word
    at = rng.randint(1, len(word) - 2)
    dropped = word[:at] + word[at + 1 :]
    swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    doubled = word[:at] + word[at] + word[at:]
    return rng.choice((dropped, swapped, doubled))


def spelling(rng: Random) -> list[dict]:
    """Mend one or two misspelt words of a plain sentence."""
    sentence = rng.choice(ANSWERS["sentences"])
    if rng.random() < 0.4:
        subject = f"{rng.choice(names.QUALITIES)} {rng.choice(names.THINGS)}"
        sentence = f"The {subject} {rng.choice(names.VERBS)} {rng.choice(WAYS)} the {rng.choice(names.THINGS)}."
    words = sentence.split()
    for at in rng.sample(range(len(words)), min(len(words), rng.choice((1, 1, 2, 3)))):
        words[at] = misspell(rng, words[at])
    return turn(rng.choice(ANSWERS["spelling_orders"]) + rng.choice(GAPS) + " ".join(words), sentence)
