"""Edits: rephrase a sentence, mend its spelling. The prompt is the instruction, an empty line, the text.

Knows nothing about the rest of the chat.
"""

from random import Random

import names

SYNONYMS = dict(pair.split(":") for pair in """jumped:leaped walked:strolled ran:rushed looked:gazed slept:dozed climbed:clambered flew:soared
waited:lingered laughed:giggled cried:wept worked:toiled talked:chatted sang:hummed swam:floated sat:rested went:moved fell:dropped
crawled:crept hurried:dashed shouted:yelled""".split())
WAYS = ["out of", "into", "over", "under", "through", "across", "around", "behind", "near", "along", "in", "to", "from", "at", "on", "past"]
ORDERS = ["rephrase", "Rephrase", "rephrase", "Rephrase the sentence", "Rephrase this sentence", "Rephrase the following sentence", "Paraphrase",
          "Rewrite this sentence", "Say it in other words", "Rephrase this:"]
MENDING = ["Fix the spelling mistakes", "Fix the spelling mistakes", "Fix the spelling", "Correct the spelling", "fix spelling", "Correct the mistakes"]
SENTENCES = """What day of the week is it?|What day is it today?|What time is it?|Where is the station?|The cat is sleeping on the chair.
I would like a cup of tea.|How much does this book cost?|We are going to the beach tomorrow.|My brother lives in a small house.
She wrote a long letter to her friend.|The weather is very nice today.|Can you help me with my work?|I have forgotten the name of the street.
The train was late again this morning.|They are playing in the garden.|Please close the window before you leave.|He bought some bread and cheese.
The children were happy to see the snow.|I will call you in the evening.|This is the best day of the week.|Do you know where my keys are?
There is a bird in the tree behind the house.|Our teacher told us a funny story.|It is going to rain in the afternoon.
The quick brown fox jumps over the lazy dog.|Thank you very much for your answer.|Which week of the month is it?|The world is full of beautiful things.
Every day I walk along the river.|The answer to this question is simple.""".replace("\n", "|").split("|")


def noun(rng: Random, made: float = 0.3) -> str:
    """Pick a noun, often a made-up one, so that the model must read it."""
    return names.word(rng).lower() if rng.random() < made else rng.choice(names.THINGS)


def rephrase(rng: Random) -> list[dict]:
    """Give a sentence its articles and another verb, and keep the rest."""
    quality = rng.choice(names.QUALITIES) if rng.random() < 0.85 else names.word(rng).lower()
    subject = f"{quality} {noun(rng)}" if rng.random() < 0.8 else noun(rng)
    verb = rng.choice(list(SYNONYMS))
    place = f"{rng.choice(WAYS)} {rng.choice(('the', 'the', 'the', 'a', 'my'))} {noun(rng)}"
    article = rng.choice(("", "", "the ", "a ", "my "))
    source = f"{article}{subject} {verb} {place}"
    target = f"{article or 'the '}{subject} {SYNONYMS[verb]} {place}."
    order = rng.choice(ORDERS)
    text = source[0].upper() + source[1:] if rng.random() < 0.8 else source
    question = f"{order}{rng.choice((chr(10) * 2,) * 6 + (': ', chr(10)))}{text}{rng.choice(('', '', '.'))}"
    return [{"role": "user", "content": question}, {"role": "assistant", "content": target[0].upper() + target[1:]}]


def misspell(rng: Random, word: str) -> str:
    """Drop, swap or double a letter inside a word."""
    if len(word) < 4 or not word.isalpha():
        return word
    at = rng.randint(1, len(word) - 2)
    return rng.choice((word[:at] + word[at + 1:], word[:at] + word[at + 1] + word[at] + word[at + 2:], word[:at] + word[at] + word[at:]))


def spelling(rng: Random) -> list[dict]:
    """Mend one or two misspelt words of a plain sentence."""
    if rng.random() < 0.6:
        sentence = rng.choice(SENTENCES)
    else:
        sentence = f"The {rng.choice(names.QUALITIES)} {rng.choice(names.THINGS)} {rng.choice(names.VERBS)} {rng.choice(WAYS)} the {rng.choice(names.THINGS)}."
    words = sentence.split()
    for at in rng.sample(range(len(words)), min(len(words), rng.choice((1, 1, 2, 3)))):
        words[at] = misspell(rng, words[at])
    return [{"role": "user", "content": f"{rng.choice(MENDING)}{rng.choice((chr(10) * 2,) * 6 + (': ', chr(10)))}{' '.join(words)}"},
            {"role": "assistant", "content": sentence}]
