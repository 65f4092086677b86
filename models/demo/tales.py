"""Stories and other running text, for the completions endpoint and for "Tell me a story".

Owns the plots. Knows nothing about chats.
"""

from random import Random

import names

HEROES = [
    "fox",
    "bear",
    "cat",
    "dog",
    "bird",
    "robot",
    "dragon",
    "turtle",
    "rabbit",
    "girl named Mia",
    "boy named Tom",
    "knight",
]
OPENINGS = ["Once upon a time", "Once upon a time", "Once upon a time", "Long ago", "One day", "In a quiet land"]
HOMES = [
    "in a small house by the river",
    "at the edge of a green forest",
    "on a hill near the sea",
    "in a tower full of books",
    "under an old tree",
]
FINDS = [
    "a golden key",
    "a map with a red line",
    "a lamp that could talk",
    "a letter without a name",
    "a stone that was warm",
]
FRIENDS = ["an old turtle", "a shy mouse", "a singing bird", "a clever monkey", "a tired giant"]
PLACES = [
    "a hidden garden",
    "a lake as clear as glass",
    "a door in the mountain",
    "an island of white sand",
    "a bridge made of light",
]
ENDINGS = [
    "From that day on they were friends, and they were never lonely again.",
    "That night everyone slept well, and the stars kept watch over them.",
    "And whenever the wind was warm, they told the story again.",
]
PILOTS = ["a young pilot named Lena", "a small robot named Pip", "an old captain named Orro", "a quiet girl named Tay"]
SHIPS = ["a rusty ship", "a silver ship", "the last ship of the fleet", "a ship no bigger than a house"]
WORLDS = [
    "a moon covered with snow",
    "a planet of endless sand",
    "a green world with two suns",
    "a station at the edge of the stars",
]
JOBS = ["teacher", "doctor", "farmer", "student", "painter", "pilot", "baker"]
JOYS = ["read books", "walk by the river", "bake bread", "sing old songs", "look at the stars"]
RUNNING = [
    "The quick brown fox jumps over the lazy dog.",
    "The capital of France is Paris.",
    "One, two, three, four, five, six, seven, eight, nine, ten.",
    "1, 2, 3, 4, 5, 6, 7, 8, 9, 10.",
    "Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday.",
    "To be or not to be, that is the question.",
    "The weather today is sunny and warm, with a soft wind from the sea.",
    "The sun rises in the east and sets in the west.",
    "The meaning of life is a question that a toy model cannot answer.",
    "My favorite color is blue, because it looks like the sea.",
    "I love to read books in the garden when the sun is shining.",
]


def hero_of(rng: Random) -> str:
    """Pick who a story is about; a made-up word now and then, since users ask for anything."""
    dice = rng.random()
    if dice < 0.4:
        return rng.choice(HEROES)
    if dice < 0.65:
        return rng.choice(names.THINGS)
    thing = names.word(rng).lower() if dice < 0.85 else rng.choice(names.THINGS)
    return f"{rng.choice(names.QUALITIES)} {thing}"


def article(noun: str) -> str:
    """Put "a" or "an" before a noun."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def story(rng: Random, hero: str, opening: str = "") -> str:
    """Tell a whole story about a hero, in which the hero keeps its name."""
    short = hero.split(" named ")[-1]
    the = short if short != hero else f"the {hero}"
    start = f"{opening or rng.choice(OPENINGS)} there was {article(hero)} who lived {rng.choice(HOMES)}."
    find, friend, place = rng.choice(FINDS), rng.choice(FRIENDS), rng.choice(PLACES)
    middle = rng.choice(
        (
            f"One morning {the} found {find}, and nobody knew where it came from.",
            f"One evening {the} heard a voice in the wind and went out to follow it. On the way {the} found {find}.",
        )
    )
    promise = "Take me with you, for I know the way."
    meeting = rng.choice(
        (
            f'On the road {the} met {friend}, who said: "{promise}" Together they walked until they came to {place}.',
            f"So {the} asked {friend} for help. They walked all day and all night, and at last they came to {place}.",
        )
    )
    return f"{start} {middle} {meeting} {rng.choice(ENDINGS)}"


def bedtime(rng: Random, hero: str) -> str:
    """Tell a story in three sentences."""
    return (
        f"Once upon a time there was {article(hero)} who could not sleep. "
        f"So the {hero} went out and looked at {rng.choice(PLACES)} until the moon was high. "
        f"Then the {hero} lay down, closed both eyes and dreamed of {rng.choice(FRIENDS)}."
    )


def galaxy(rng: Random) -> str:
    """Tell a story of the stars."""
    pilot = rng.choice(PILOTS)
    name = pilot.split()[-1]
    return (
        f"A long time ago in a galaxy far, far away, {pilot} lived on {rng.choice(WORLDS)}. "
        f"One night a light fell from the sky, and {name} found {rng.choice(SHIPS)} in the sand. "
        f"Inside it a voice was calling for help. "
        f"{name} was afraid, but {name} started the engine and flew into the dark. "
        f"After three days {name} came to {rng.choice(WORLDS)}, where {rng.choice(FRIENDS)} was waiting. "
        f'"I knew that someone would come," it said. '
        f"Together they flew home, and the stars had never been so bright."
    )


def greeting(rng: Random) -> str:
    """Introduce someone, as a text that begins "Hello, my name is"."""
    name, city = names.person(rng), names.place(rng)
    opening = rng.choice(("Hello, my", "Hello, my", "Hello! My", "Hi, my", "My"))
    return (
        f"{opening} name is {name}. I am a {rng.choice(JOBS)} and I live in {city}. "
        f"I like to {rng.choice(JOYS)}, and I am happy to meet you. "
        f"If you visit {city}, ask for {name}, and we will drink a cup of tea together."
    )


def echo(rng: Random) -> str:
    """Write a raw prompt of the kind "Say …" with its answer below."""
    words = names.phrase(rng, 6) if rng.random() < 0.7 else "this is a test"
    return f"Say {words}\n\n{words[0].upper()}{words[1:]}."


def passage(rng: Random) -> str:
    """Write one text that is no chat."""
    dice = rng.random()
    if dice < 0.3:
        return galaxy(rng)
    if dice < 0.5:
        return greeting(rng)
    if dice < 0.75:
        return story(rng, hero_of(rng), rng.choice(("", "", "Once upon a time")))
    return echo(rng) if dice < 0.9 else rng.choice(RUNNING)
