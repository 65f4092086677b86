"""Exchanges of a chat that need no tool: echoes, memory, manners, facts, edits.

Every function returns the messages of one or more turns. Half of them copy from the prompt.
Knows nothing about templates.
"""

from random import Random

import edits
import names
import tales
from edits import ANSWERS, capitalised, turn

TOY = "I am only a toy model"
NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
POSSESSIONS = ("dog", "cat", "brother", "sister", "boat", "horse", "teacher", "friend", "robot", "street")


def say(rng: Random) -> list[dict]:
    """Echo: "Say x!" raises the first letter, the quoted and the colon form keep every letter."""
    words = names.anything(rng)
    if rng.random() < 0.15:
        words = rng.choice(ANSWERS["echo_phrases"])
    mark = rng.choice(("", "", ".", "!", "!", "?"))
    if rng.random() < 0.5:
        return turn(f"{rng.choice(ANSWERS['echo_starts'])} {words}{mark}", capitalised(words + mark))
    form = rng.choice(ANSWERS["echo_forms"])
    kept = words if form.endswith(('"', "'")) else words + mark
    return turn(form.format(kept), kept)


def confidences(rng: Random) -> list[tuple]:
    """List what a user may tell: statements, the value, the reply, questions and the answer."""
    name, pet, thing = names.person(rng), names.word(rng), rng.choice(POSSESSIONS)
    told_name = ("My name is {}.", "I am {}.", "Hi, I'm {}!", "Hello, my name is {}", "my name is {}")
    asked_name = ("What is my name?", "What's my name?", "Do you know my name?", "Who am I?")
    told_home = ("I live in {}.", "I am from {}.", "My home is {}.")
    asked_home = ("Where do I live?", "Where am I from?")
    told_pet = (f"My {thing} is called {{}}.", f"I have a {thing} called {{}}.")
    asked_pet = (f"What is my {thing} called?", f"What is the name of my {thing}?")
    return [
        (told_name, name, "Nice to meet you, {}!", asked_name, "Your name is {}."),
        (told_home, names.place(rng), "I have never been to {}.", asked_home, "You live in {}."),
        (told_pet, pet, f"{{}} is a nice name for a {thing}.", asked_pet, f"Your {thing} is called {{}}."),
    ]


def remember(rng: Random) -> list[dict]:
    """Tell a fact about oneself, talk of something else, then ask for the fact."""
    told = rng.sample(confidences(rng), rng.choice((1, 1, 2)))
    if rng.random() < 0.25:
        statements, value, _, questions, answer = told[0]
        return turn(f"{rng.choice(statements).format(value)} {rng.choice(questions)}", answer.format(value))
    messages = []
    for statements, value, reply, _, _ in told:
        messages += turn(rng.choice(statements).format(value), reply.format(value))
    if rng.random() < 0.4:
        messages += rng.choice((manners, fact, count))(rng)
    for _, value, _, questions, answer in rng.sample(told, len(told)):
        messages += turn(rng.choice(questions), answer.format(value))
    return messages


def manners(rng: Random) -> list[dict]:
    """Greet, thank, or say who one is."""
    habit = rng.choice(ANSWERS["manners"])
    return turn(rng.choice(habit["questions"]), habit["answer"])


def fact(rng: Random) -> list[dict]:
    """Answer what everybody knows, and own up to the rest."""
    if rng.random() < 0.4:
        return turn(*rng.choice(ANSWERS["facts"]))
    capitals = ANSWERS["capitals"]
    country = rng.choice(list(capitals)) if rng.random() < 0.75 else names.word(rng)
    question = rng.choice(ANSWERS["capital_questions"]).format(country)
    if country in capitals:
        return turn(question, f"The capital of {country} is {capitals[country]}.")
    return turn(question, f"{TOY}, and I do not know the capital of {country}.")


def count(rng: Random) -> list[dict]:
    """Count to ten or less."""
    top = rng.randint(2, 10)
    written = rng.choice((str(top), str(top), NUMBERS[top - 1]))
    return turn(rng.choice(ANSWERS["count_questions"]).format(written), ", ".join(map(str, range(1, top + 1))))


def add(rng: Random) -> list[dict]:
    """Add two numbers of one digit."""
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    return turn(rng.choice(ANSWERS["sum_questions"]).format(a, b), f"{a} + {b} = {a + b}")


def own_up(rng: Random) -> list[dict]:
    """Admit, naming the subject, that a toy knows nothing about it."""
    form = rng.choice(ANSWERS["unknown_questions"])
    subject = rng.choice((names.word, names.place, names.person, lambda rng: names.phrase(rng, 3)))(rng)
    if rng.random() < 0.3:
        subject = f"{rng.choice(('a', 'the'))} {rng.choice(names.THINGS)}"
    others = [rng.choice(names.QUALITIES + names.THINGS) for _ in range(form.count("{}") - 1)]
    answer = f"{TOY}, so I know nothing about {subject}. Please ask a real model."
    return turn(form.format(subject, *others), answer)


def weather_without_tool(rng: Random) -> list[dict]:
    """Refuse to invent the weather."""
    city = names.place(rng)
    question = rng.choice(ANSWERS["weather_questions"]).format(city)
    return turn(question, f"I have no tool to look up the weather in {city}.")


def story(rng: Random) -> list[dict]:
    """Tell a story, about what the user asks for."""
    dice = rng.random()
    if dice < 0.3:
        tale = tales.story(rng, rng.choice(tales.HEROES), "Once upon a time")
        return turn(rng.choice(ANSWERS["story_questions"]), tale)
    hero = tales.hero_of(rng)
    about = tales.article(hero)
    if dice < 0.6:
        tale = tales.bedtime(rng, hero.split(" named ")[-1])
        return turn(rng.choice(ANSWERS["bedtime_questions"]).format(about), tale)
    if dice < 0.9:
        return turn(rng.choice(ANSWERS["story_about_questions"]).format(about), tales.story(rng, hero))
    return turn("A long time ago in a galaxy far, far away" + rng.choice(("", ",", "...")), tales.galaxy(rng))


def as_json(rng: Random) -> list[dict]:
    """Put two facts into a JSON object."""
    name, age = names.person(rng), rng.randint(1, 99)
    question = rng.choice(ANSWERS["json_questions"]).format(name, age)
    return turn(question, f'{{"name": "{name}", "age": {age}}}')


COPYING = {say: 40, remember: 20, weather_without_tool: 10, own_up: 10, as_json: 8, edits.rephrase: 8, manners: 4}
KINDS = {
    say: 38,
    remember: 18,
    manners: 12,
    edits.rephrase: 14,
    edits.spelling: 7,
    own_up: 7,
    fact: 6,
    story: 6,
    weather_without_tool: 4,
    as_json: 4,
    count: 3,
    add: 2,
}


def exchange(rng: Random, easy: bool = False) -> list[dict]:
    """Make the turns of one subject; an easy one mostly copies."""
    kinds = COPYING if easy else KINDS
    return rng.choices(list(kinds), list(kinds.values()))[0](rng)
