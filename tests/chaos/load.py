"""Mixed load: all API families, whole and streamed, two engines, clients that leave, stored responses."""

from __future__ import annotations

import json
import random
import threading
import time

from tests.chaos.families import FAMILIES, Ending, Request, run

CLIENTS = 8
ECHO, TOY = "echo", "toy"
PROMPT = "Tell me a story about the number {}."
"""Each its own, as one that was alone in a worker that was killed twice is suspected of it, and refused."""
LEAVES = 0.15
"""Share of the clients that hang up before they have their answer."""
PACE_MS = 20


def draw(rng: random.Random, families: tuple[str, ...] = tuple(FAMILIES)) -> Request:
    """Make up a request."""
    family, stream = rng.choice(families), rng.random() < 0.5
    leaves_after_s = rng.uniform(0.02, 0.6) if rng.random() < LEAVES else None
    if rng.random() < 0.35:
        own_s, tokens = 2.0, rng.randint(4, 32)
        return Request(family, stream, TOY, PROMPT.format(rng.randrange(10**6)), tokens, None, own_s, leaves_after_s)
    said = "".join(rng.choices("abcdefghijklmnopqrstuvwxyz ä€😀", k=rng.randint(1, 40))).strip() or "x"
    prefill_ms = rng.choice((0, 0, 0, 300))
    script = {"say": said, "pace_ms": PACE_MS, "prefill_ms": prefill_ms}
    own_s = (prefill_ms + PACE_MS * len(said.encode())) / 1000
    return Request(family, stream, ECHO, json.dumps(script), 1000, said, own_s, leaves_after_s)


class Load:
    """Clients that ask one request after another until told to stop; each has a random generator of its own."""

    def __init__(self, port: int, seed: int, clients: int = CLIENTS):
        self.port = port
        self.done: list[Request] = []
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._ask, args=(random.Random(f"{seed}/{number}"),), daemon=True)
            for number in range(clients)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(90)
        assert not any(thread.is_alive() for thread in self._threads), "a client still waits"

    def _ask(self, rng: random.Random) -> None:
        while not self._stopping.is_set():
            request = run(draw(rng), self.port)
            self.done.append(request)
            if request.ending in (Ending.UNREACHED, Ending.ERROR):
                self._stopping.wait(0.1)

    def stored(self) -> dict[str, str]:
        """Return the texts of the responses that clients were told are complete, by id."""
        ended = [
            request for request in self.done if request.family == "responses" and request.ending is Ending.ANSWERED
        ]
        return {request.id: request.text for request in ended}


def await_service(port: int, deadline: float) -> tuple[float | None, str]:
    """Ask until every API family has had an answer from both engines, whole and streamed.

    Return the moment, or None and what was last answered instead.
    """
    missing = [(family, stream, model) for family in FAMILIES for stream in (True, False) for model in (ECHO, TOY)]
    rng, last = random.Random(), ""
    while missing:
        family, stream, model = missing[0]
        said, text = (f"hello {rng.random()}",) * 2 if model == ECHO else (PROMPT.format(rng.randrange(10**6)), None)
        request = run(Request(family, stream, model, said, 100 if model == ECHO else 8, text), port)
        if request.ending is Ending.ANSWERED:
            missing.pop(0)
            continue
        last = str(request)
        if time.monotonic() > deadline:
            return None, last
        time.sleep(0.05)
    return time.monotonic(), last
