"""Exchanges of a chat that need no tool: echoes, memory, manners, facts, edits.

Every function returns the messages of one or more turns. Half of them copy from the prompt. Knows nothing about templates.
"""

from random import Random

import edits
import names
import tales

WHO = "I am demo, a tiny toy model that comes with localai-flask to try the server with."
MANNERS = [
    (["How are you?", "How are you doing?", "How are you today?", "how are you", "How's it going?"], "I'm fine, thank you! How can I help you?"),
    (["Hello!", "Hello", "Hi", "Hi!", "Hi there", "Hey", "hello", "hi", "Good morning", "Good evening!"], "Hello! How can I help you?"),
    (["Who are you?", "What are you?", "What is your name?", "What's your name?", "Tell me about yourself", "Which model are you?",
      "Introduce yourself."], WHO),
    (["What can you do?", "What can you help me with?", "Help", "How can you help me?"],
     "Not much: I am a toy. I can repeat words, tell a short story, remember a name and call a tool. For real work, add a real model."),
    (["Thank you!", "Thanks", "Thank you", "Thanks a lot!", "thanks"], "You are welcome!"),
    (["Goodbye", "Bye", "Bye!", "See you later", "Good night"], "Goodbye, and have a nice day!"),
    (["Are you a robot?", "Are you human?", "Are you real?", "Are you ChatGPT?"], "No, I am only a tiny toy model."),
    (["Tell me a joke", "Tell me a joke.", "Say something funny", "Do you know a joke?"],
     "Why did the robot cross the road? Because it was told to."),
    (["What is the meaning of life?", "What's the meaning of life?"], "A toy model cannot answer that, but people often say 42."),
    (["ping", "Ping"], "pong"),
    (["test", "Test", "This is a test", "This is a test."], "The test works: I can read you."),
]
CAPITALS = dict(pair.split(":") for pair in """France:Paris Germany:Berlin Italy:Rome Spain:Madrid England:London Japan:Tokyo China:Beijing
Russia:Moscow Poland:Warsaw Austria:Vienna Greece:Athens Portugal:Lisbon Norway:Oslo Sweden:Stockholm Egypt:Cairo Canada:Ottawa""".split())
FACTS = [
    ("What color is the sky?", "The sky is blue."),
    ("What color is grass?", "Grass is green."),
    ("How many days are in a week?", "A week has seven days."),
    ("How many months are in a year?", "A year has twelve months."),
    ("How many legs does a cat have?", "A cat has four legs."),
    ("Who wrote Hamlet?", "William Shakespeare wrote Hamlet."),
    ("What is the largest planet?", "Jupiter is the largest planet of the solar system."),
    ("What is an alpaca?", "An alpaca is an animal from South America that is kept for its soft wool."),
    ("What is a cat?", "A cat is a small animal that likes to sleep in the sun."),
    ("What is water made of?", "Water is made of hydrogen and oxygen."),
    ("Is the sun a star?", "Yes, the sun is a star."),
    ("What is a language model?", "A language model is a program that guesses the next word of a text."),
]
ASIDES = ["Who was {}?", "Explain {}.", "How do I make {}?", "Write a poem about {}", "What do you think of {}?", "What is {}?", "Why is {} so {}?",
          "Give me a recipe for {}", "Tell me about {}", "Who won the {} in {}?", "Translate {} into {}", "When was {} built?"]
NUMBERS = "one two three four five six seven eight nine ten".split()
POSSESSIONS = ["dog", "cat", "brother", "sister", "boat", "horse", "teacher", "friend", "robot", "street"]


def turn(question: str, answer: str) -> list[dict]:
    """Pair one question with its answer."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def capitalised(text: str) -> str:
    """Raise the first letter and leave the rest alone."""
    return text[:1].upper() + text[1:]


def say(rng: Random) -> list[dict]:
    """Echo: "Say x!" raises the first letter, the quoted and the colon form keep every letter."""
    words = names.anything(rng)
    if rng.random() < 0.15:
        words = rng.choice(("this is a test", "hello", "hi", "hello world", "this is only a test", "yes", "good morning", "something"))
    mark = rng.choice(("", "", ".", "!", "!", "?"))
    if rng.random() < 0.5:
        return turn(f"{rng.choice(('Say', 'Say', 'Say', 'say', 'Please say'))} {words}{mark}", capitalised(words + mark))
    form = rng.choice(("Say: {}", "Say \"{}\"", "Repeat: {}", "Repeat after me: {}", "Repeat {}", "Repeat the following: {}", "Echo {}",
                       "Please repeat \"{}\"", "Answer with {}", "Reply with: {}", "Say '{}'", "Repeat this text:\n{}", "Copy this: {}"))
    kept = words if form.endswith(("\"", "'")) else words + mark
    return turn(form.format(kept), kept)


def remember(rng: Random) -> list[dict]:
    """Tell a fact about oneself, talk of something else, then ask for the fact."""
    name, pet, city, thing = names.person(rng), names.word(rng), names.place(rng), rng.choice(POSSESSIONS)
    kinds = [
        (("My name is {}.", "I am {}.", "Hi, I'm {}!", "Hello, my name is {}", "my name is {}"), name, "Nice to meet you, {}!",
         ("What is my name?", "What's my name?", "Do you know my name?", "Who am I?"), "Your name is {}."),
        (("I live in {}.", "I am from {}.", "My home is {}."), city, "I have never been to {}.", ("Where do I live?", "Where am I from?"), "You live in {}."),
        ((f"My {thing} is called {{}}.", f"I have a {thing} called {{}}."), pet, f"{{}} is a nice name for a {thing}.",
         (f"What is my {thing} called?", f"What is the name of my {thing}?"), f"Your {thing} is called {{}}."),
    ]
    told = rng.sample(kinds, rng.choice((1, 1, 2)))
    if rng.random() < 0.25:
        statement, value, _, questions, answer = told[0]
        return turn(f"{rng.choice(statement).format(value)} {rng.choice(questions)}", answer.format(value))
    messages = [m for s, value, reply, _, _ in told for m in turn(rng.choice(s).format(value), reply.format(value))]
    if rng.random() < 0.4:
        messages += rng.choice((manners, fact, count))(rng)
    for _, value, _, questions, answer in rng.sample(told, len(told)):
        messages += turn(rng.choice(questions), answer.format(value))
    return messages


def manners(rng: Random) -> list[dict]:
    """Greet, thank, or say who one is."""
    questions, answer = rng.choice(MANNERS)
    return turn(rng.choice(questions), answer)


def fact(rng: Random) -> list[dict]:
    """Answer what everybody knows, and own up to the rest."""
    if rng.random() < 0.4:
        return turn(*rng.choice(FACTS))
    country = rng.choice(list(CAPITALS)) if rng.random() < 0.75 else names.word(rng)
    question = rng.choice(("What is the capital of {}?", "What's the capital of {}?", "capital of {}", "Tell me the capital of {}.")).format(country)
    if country in CAPITALS:
        return turn(question, f"The capital of {country} is {CAPITALS[country]}.")
    return turn(question, f"I am only a toy model, and I do not know the capital of {country}.")


def count(rng: Random) -> list[dict]:
    """Count to ten or less."""
    top = rng.randint(2, 10)
    written = rng.choice((str(top), str(top), NUMBERS[top - 1]))
    form = rng.choice(("Count to {}", "Count to {}.", "Count from 1 to {}", "Can you count to {}?"))
    return turn(form.format(written), ", ".join(map(str, range(1, top + 1))))


def add(rng: Random) -> list[dict]:
    """Add two numbers of one digit."""
    a, b = rng.randint(0, 9), rng.randint(0, 9)
    return turn(rng.choice(("What is {} + {}?", "What is {} plus {}?", "{} + {}", "{}+{}=")).format(a, b), f"{a} + {b} = {a + b}")


def own_up(rng: Random) -> list[dict]:
    """Admit, naming the subject, that a toy knows nothing about it."""
    form = rng.choice(ASIDES)
    subject = rng.choice((names.word, names.place, names.person, lambda r: names.phrase(r, 3)))(rng)
    if rng.random() < 0.3:
        subject = f"{rng.choice(('a', 'the'))} {rng.choice(names.THINGS)}"
    others = [rng.choice(names.QUALITIES + names.THINGS) for _ in range(form.count("{}") - 1)]
    return turn(form.format(subject, *others), f"I am only a toy model, so I know nothing about {subject}. Please ask a real model.")


def weather_without_tool(rng: Random) -> list[dict]:
    """Refuse to invent the weather."""
    city = names.place(rng)
    form = rng.choice(("What is the weather like in {}?", "What's the weather in {} today?", "weather in {}", "How warm is it in {}?"))
    return turn(form.format(city), f"I have no tool to look up the weather in {city}.")


def story(rng: Random) -> list[dict]:
    """Tell a story, about what the user asks for."""
    dice = rng.random()
    if dice < 0.3:
        return turn(rng.choice(("Tell me a story", "Tell me a story.", "Tell me a short story", "Write a story", "tell me a story")),
                    tales.story(rng, rng.choice(tales.HEROES), "Once upon a time"))
    hero = tales.hero_of(rng)
    about = tales.article(hero)
    if dice < 0.6:
        form = rng.choice(("Tell me a three sentence bedtime story about {}.", "Tell me a bedtime story about {}",
                           "Write a one-sentence bedtime story about {}.", "Tell me a very short story about {}."))
        return turn(form.format(about), tales.bedtime(rng, hero.split(" named ")[-1]))
    if dice < 0.9:
        return turn(rng.choice(("Tell me a story about {}", "Write a story about {}.", "Tell me a tale about {}.")).format(about), tales.story(rng, hero))
    return turn("A long time ago in a galaxy far, far away" + rng.choice(("", ",", "...")), tales.galaxy(rng))


def as_json(rng: Random) -> list[dict]:
    """Put two facts into a JSON object."""
    name, age = names.person(rng), rng.randint(1, 99)
    form = rng.choice(("My name is {} and I am {} years old. Answer in JSON.", "Give me a JSON object with the name {} and the age {}.",
                       "Extract the name and the age as JSON: {} is {} years old."))
    return turn(form.format(name, age), f'{{"name": "{name}", "age": {age}}}')


KINDS = [(say, 30), (remember, 18), (manners, 12), (edits.rephrase, 10), (edits.spelling, 7), (own_up, 7), (fact, 6), (story, 6),
         (weather_without_tool, 4), (count, 3), (add, 2), (as_json, 4)]


def exchange(rng: Random) -> list[dict]:
    """Make the turns of one subject."""
    kind = rng.choices([k for k, _ in KINDS], [weight for _, weight in KINDS])[0]
    return kind(rng)
