"""A real model of 135 million parameters tells what a text says from what it does not: better than chance, hardly more.

It nearly always finds No likelier than Yes, so what counts is which of two statements it finds likelier to be true.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from openai import OpenAI

from localai_flask.gallery import starter
from tests.support.server import Server

pytestmark = pytest.mark.timeout(600)  # the model may have to be fetched first

STATEMENTS = (
    ("The cat slept on the red sofa all day.", "The sofa is red.", "The sofa is blue."),
    ("Anna bought three apples and a loaf of bread.", "Anna bought apples.", "Anna bought oranges."),
    ("The train to Berlin leaves at nine in the morning.", "The train goes to Berlin.", "The train goes to Paris."),
    ("I loved this film. It was wonderful from beginning to end.", "The writer liked it.", "The writer hated it."),
    ("The soup was cold and the waiter was rude.", "The guests were unhappy.", "The guests were happy."),
    ("My order came late and the box was broken.", "The box was broken.", "The box was in perfect condition."),
    ("It has been raining since yesterday.", "The weather is rainy.", "The weather is sunny."),
    ("Paul is a doctor in a hospital in London.", "Paul works in a hospital.", "Paul works in a school."),
    ("The dog barked at the postman and ran after him.", "The dog barked.", "The dog was silent."),
    ("We won the match by four goals to one!", "The match was won.", "The match was lost."),
    ("The phone's battery lasts for two days.", "The battery lasts two days.", "The battery lasts two hours."),
    ("Please cancel my subscription.", "The customer wants to cancel.", "The customer wants to subscribe."),
    ("Maria was born in Spain and moved to Canada.", "Maria was born in Spain.", "Maria was born in China."),
    ("The shop is closed on Sundays.", "The shop is closed on Sundays.", "The shop is open on Sundays."),
    ("The lake was freezing, so nobody swam.", "The water was cold.", "The water was warm."),
    ("Tom has two sisters and no brothers.", "Tom has two sisters.", "Tom has five sisters."),
    ("The museum shows paintings from Italy.", "The museum shows paintings.", "The museum shows cars."),
    ("Thank you, your team solved my problem.", "The customer is satisfied.", "The customer is angry."),
    ("The bridge was built in 1890 of steel.", "The bridge is made of steel.", "The bridge is made of wood."),
    ("She speaks French and German, but no English.", "She speaks French.", "She speaks English."),
    ("The house has a green door and two windows.", "The door is green.", "The door is black."),
    (
        "Our flight was cancelled and we had to sleep at the airport.",
        "The flight was cancelled.",
        "The flight was on time.",
    ),
    (
        "The cake was delicious, and the children asked for more.",
        "The children liked the cake.",
        "The children disliked the cake.",
    ),
    ("John plays the piano in a small band.", "John plays the piano.", "John plays the drums."),
    ("The library opens at ten and closes at six.", "The library closes at six.", "The library closes at midnight."),
    (
        "I would like to return these shoes because they are too small.",
        "The shoes are too small.",
        "The shoes are too big.",
    ),
    ("The meeting is on Monday in room five.", "The meeting is on Monday.", "The meeting is on Friday."),
    ("Snow covered the mountains, and the road was closed.", "There was snow.", "It was a hot summer day."),
    ("The film is boring, far too long and badly acted.", "The review is negative.", "The review is positive."),
    ("Great service! I will recommend you to all my friends.", "The review is positive.", "The review is negative."),
    ("The farmer keeps cows and sheep.", "The farmer keeps sheep.", "The farmer keeps lions."),
    ("Lisa is seven years old and goes to school.", "Lisa is a child.", "Lisa is an old woman."),
    ("The car stopped because it had no fuel.", "The car had no fuel.", "The car had a full tank."),
    ("He wrote a book about birds.", "The book is about birds.", "The book is about computers."),
    ("My password does not work and I cannot log in.", "The user cannot log in.", "The user has forgotten to eat."),
    ("The river is deep and dangerous.", "The river is dangerous.", "The river is safe."),
    ("Water boils at one hundred degrees.", "The text is about water.", "The text is about music."),
    ("They painted the kitchen yellow last week.", "The kitchen is yellow.", "The kitchen is purple."),
    ("The price went up from ten to fifteen dollars.", "The price went up.", "The price went down."),
    ("The old man walked slowly with a stick.", "The man was old.", "The man was young."),
    ("We ordered pizza and ate it in the garden.", "They ate pizza.", "They ate fish."),
    ("The exam was easy and everybody passed.", "Everybody passed.", "Everybody failed."),
    ("The queen lives in a castle by the sea.", "The castle is by the sea.", "The castle is in a desert."),
    ("The computer is broken, please send a technician.", "The computer needs repair.", "The computer works well."),
)
ENOUGH = 29
"""Of 44 pairs; by chance there are as many once in 40 times. 33 to 36 were seen, by processor."""


@pytest.fixture
def client(server: Server) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0, timeout=110) as client:
        yield client


def likelihood(client: OpenAI, text: str, statement: str) -> float:
    """Ask for one statement alone: what is computed beside others has other last bits, which matter here."""
    asked = [{"type": "predicate", "instructions": statement}]
    (answer,) = client.decisions.create(model=starter.NAME, input=text, questions=asked).answers
    assert answer.model_extra["option_mass"] > 0.2
    return answer.probability


def test_what_a_text_says_is_likelier_than_what_it_does_not(client: OpenAI) -> None:
    right = 0
    for text, said, unsaid in STATEMENTS:
        right += likelihood(client, text, said) > likelihood(client, text, unsaid)
    assert right >= ENOUGH, f"{right} of {len(STATEMENTS)} pairs"
