"""Strings worth copying: names, numbers and phrases that cannot be learned by heart.

Owns the letters of the training text. Knows nothing about chats or tools.
"""

from random import Random

PLACES = """Paris London Berlin Madrid Rome Vienna Oslo Lisbon Athens Dublin Tokyo Seoul Delhi Mumbai Cairo Lagos Nairobi Toronto
Boston Chicago Seattle Denver Dallas Austin Miami Atlanta Houston Phoenix Portland Detroit Sydney Melbourne Auckland Lima Bogota
Caracas Havana Montreal Vancouver Glasgow Munich Hamburg Cologne Lyon Marseille Milan Naples Turin Barcelona Valencia Warsaw Krakow
Prague Budapest Bucharest Sofia Helsinki Stockholm Copenhagen Istanbul Ankara Baghdad Damascus Jakarta Manila Bangkok Hanoi Taipei
Shanghai Beijing Osaka Kyoto Casablanca Tunis Accra Dakar Kampala Kinshasa Luanda Harare Windhoek Quito Montevideo Managua Springfield
Brighton Cambridge Oxford Leeds Bristol Sacramento Cleveland Memphis Nashville Baltimore Orlando Tampa Albuquerque""".split()
WIDE_PLACES = ["San Francisco", "New York", "Los Angeles", "San Diego", "Rio de Janeiro", "Buenos Aires", "Mexico City", "Hong Kong",
               "Cape Town", "Tel Aviv", "Las Vegas", "New Orleans", "St. Louis", "Santa Fe", "Salt Lake City", "Abu Dhabi", "Den Haag",
               "São Paulo", "Zürich", "Bogotá", "Malmö", "Saint-Denis", "Stoke-on-Trent", "El Paso", "Fort Worth", "Kansas City"]
PEOPLE = """Anna Bob Carol David Emma Frank Grace Henry Isabel Jack Kate Liam Maria Noah Olivia Peter Quinn Rosa Samuel Tina Ursula Victor
Wendy Xavier Yusuf Zoe Aisha Bruno Chen Dmitri Elena Fatima Giovanni Hiroshi Ingrid Jorge Kwame Leila Mohammed Nadia Oscar Priya Rafael
Svetlana Thomas Umberto Viktor Wolfgang Ximena Yuki Alice Benjamin Charlotte Daniel Eleanor Gabriel Hannah Jonathan Michael Sarah""".split()
THINGS = """house river garden tree flower bird horse dog cat mouse lion bear fox rabbit fish boat ship train car road bridge mountain
forest lake sea beach island castle tower door window table chair lamp book letter song story picture clock ring key box bag hat coat
shoe cake bread apple orange cheese soup tea coffee sugar salt water fire stone star moon sun cloud rain snow wind storm teacher doctor
farmer king queen child baby friend brother sister mother father robot dragon unicorn wizard pirate knight giant monkey turtle""".split()
QUALITIES = """big small old young new red blue green yellow black white brown happy sad quick slow warm cold hot kind brave clever quiet
loud soft hard bright dark long short tall round sweet strange funny lazy tired angry little great good bad""".split()
VERBS = """jumped walked ran looked sang danced slept swam climbed flew waited laughed cried worked played talked listened painted cooked
opened closed found lost made took gave saw heard loved wanted carried followed""".split()
SMALL = "the a an in on under over with and or but my your our this that is was are to of from for very so not all every".split()

STARTS = "b c d f g h j k l m n p r s t v w z br ch cl cr dr fl fr gr kh kr kw ng ph pl pr qu sch sh sk sl st str th tr ts wh y x".split() + [""] * 6
MIDDLES = "a e i o u a e i o u a e i o ai au ea ee ei ia ie io oo ou ue y á é ö ü ã ø".split()
ENDS = "n r s l t d k m ng th ck st nd rt x z p lle nn ss v ld sh que".split() + [""] * 16
FRAMES = ["New {}", "San {}", "Saint {}", "Port {}", "{} City", "{} Falls", "El {}", "La {}", "Mount {}", "{} Springs", "North {}",
          "Upper {}", "{} Beach", "St. {}", "O'{}", "Mc{}", "Lake {}", "Fort {}", "{}-on-Sea"]
LETTERS = "abcdefghijklmnopqrstuvwxyzaaeeiioourstlnm"


def syllables(rng: Random) -> str:
    """Make up a word that can be spoken."""
    count = rng.choice((1, 2, 2, 2, 3, 3))
    word = "".join(rng.choice(STARTS) + rng.choice(MIDDLES) + rng.choice(ENDS if rng.random() < 0.4 else [""]) for _ in range(count))
    return (word + rng.choice(ENDS)).capitalize()


def splice(rng: Random) -> str:
    """Join the head of one real name to the tail of another."""
    head, tail = rng.choice(PLACES + PEOPLE), rng.choice(PLACES + PEOPLE).lower()
    return head[: rng.randint(1, len(head) - 1)] + tail[rng.randint(1, len(tail) - 1):]


def scramble(rng: Random) -> str:
    """Draw letters blindly, so that no chunk of a name can be foreseen."""
    word = "".join(rng.choice(LETTERS) for _ in range(rng.randint(2, 9)))
    return word.capitalize() if rng.random() < 0.8 else word


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
        return rng.choice(FRAMES).format(word(rng))
    if dice < 0.92:
        return f"{word(rng)}{rng.choice((' ', ' ', '-'))}{word(rng)}"
    return f"{word(rng)}, {rng.choice((word, syllables))(rng) if rng.random() < 0.5 else ''.join(rng.choices('ABCDEFGHIJKLMNOPQRSTUVWXYZ', k=2))}"


def person(rng: Random) -> str:
    """Name a person, sometimes with a family name."""
    first = rng.choice(PEOPLE) if rng.random() < 0.2 else word(rng)
    return f"{first} {word(rng)}" if rng.random() < 0.25 else first


def number(rng: Random) -> str:
    """Write a number of one to six digits, sometimes negative or with decimals."""
    digits = str(rng.randint(0, 10 ** rng.choice((1, 2, 2, 2, 3, 4, 6)) - 1))
    dice = rng.random()
    return f"{digits}.{rng.randint(1, 9)}" if dice < 0.15 else f"-{digits}" if dice < 0.2 and digits != "0" else digits


def code(rng: Random) -> str:
    """Make up a code of capitals and digits."""
    capitals = "".join(rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=rng.randint(1, 4)))
    return rng.choice((capitals, f"{capitals}{rng.randint(0, 999)}", f"{capitals}-{rng.randint(10, 99)}", f"{rng.randint(0, 99)}{capitals}"))


def phrase(rng: Random, longest: int = 8) -> str:
    """String plain and made-up words together, without regard to sense."""
    pools = (THINGS, QUALITIES, VERBS, SMALL)
    words = []
    for _ in range(rng.randint(1, longest)):
        dice = rng.random()
        made = word(rng) if dice < 0.15 else word(rng).lower() if dice < 0.22 else number(rng) if dice < 0.26 else code(rng) if dice < 0.29 else None
        words.append(made or rng.choice(rng.choice(pools)))
    return " ".join(words)


def anything(rng: Random) -> str:
    """Draw any string that a user might want kept letter by letter."""
    return rng.choice((place, place, person, number, code, phrase, phrase))(rng)
