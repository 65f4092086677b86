"""Who waits for an engine, and in which order they start: the most urgent first, and fair between callers.

Pure: knows neither engines nor what is asked of them, and no time but that of the clock that it is given.

* A caller who has had less of the engine's time is served before one who has had more, so that one caller's hundred
  requests do not delay another's single one. What counts is the time for which requests run; those of one caller start
  in the order in which they came. Whoever comes back begins at the least that another has had, as nobody saves up time.
* Urgency goes before that: what is less urgent starts only if nothing more urgent waits.
* Yet nobody starves: where somebody has waited for long, every fourth start is for whoever has waited longest.
"""

from __future__ import annotations

import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice

OLD_S = 30.0
"""How long a request may be passed by others before it counts as old."""
TURNS_TO_OLD = 4
"""One start in as many is for the oldest, if it is old: often enough to end every wait, seldom enough to leave most
of the engine to what is urgent."""
SMOOTHING = 0.2
FIRST_GUESS_S = 1.0
"""How long a request is thought to run before one has ended."""

Level = tuple[int, int]
"""How urgent something is, the lowest first: 1 for what nobody waits for, else 0; then its priority."""


@dataclass(eq=False, slots=True)
class Waiting:
    """One who waits, or runs; `caller` is whose share of the engine it uses."""

    id: int
    caller: str
    level: Level
    since: float
    begun: float = 0.0


class Line:
    """Keeps who waits and who runs, each by its id, which is the greater the later it came."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock = clock
        self._waiting: dict[int, Waiting] = {}
        """In the order of their coming."""
        self._running: dict[int, Waiting] = {}
        self._present: Counter[str] = Counter()
        """How many requests of each caller wait or run."""
        self._used_s: dict[str, float] = {}
        """How long the ended requests of each caller have run, since the engine last had nothing to do."""
        self._starts = 0
        self.usual_s = 0.0
        """How long a request runs, by those that have ended lately; 0 before the first."""

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, id: int) -> bool:
        return id in self._waiting

    @property
    def running(self) -> int:
        return len(self._running)

    def add(self, id: int, caller: str = "", level: Level = (0, 0)) -> None:
        """Let somebody wait."""
        if not self._present[caller]:
            least = min(map(self._used, +self._present), default=0.0)
            self._used_s[caller] = max(self._used_s.get(caller, 0.0), least)
        self._present[caller] += 1
        self._waiting[id] = Waiting(id, caller, level, self._clock())

    def remove(self, id: int) -> None:
        """Forget somebody who waits no more; an unknown id is no error."""
        waiting = self._waiting.pop(id, None)
        if waiting is not None:
            self._forget(waiting.caller)

    def begin(self, id: int) -> None:
        """Note that somebody who has waited runs."""
        self._starts += 1
        waiting = self._running[id] = self._waiting.pop(id)
        waiting.begun = self._clock()

    def end(self, id: int, *, is_usual: bool = True) -> None:
        """Note that somebody has run; one that is not usual, as it was cut short, tells nothing about others."""
        running = self._running.pop(id, None)
        if running is None:
            return
        ran_s = self._clock() - running.begun
        self._used_s[running.caller] += ran_s
        if is_usual:
            self.usual_s += (SMOOTHING if self.usual_s else 1.0) * (ran_s - self.usual_s)
        self._forget(running.caller)

    def order(self) -> Iterator[int]:
        """Yield who waits in the order in which they would start, if each ran as long as is usual."""
        by_urgency, oldest = self._by_urgency(), iter(list(self._waiting.values()))
        yielded: set[int] = set()
        old_before = self._clock() - OLD_S
        for turn in range(self._starts + 1, self._starts + 1 + len(self._waiting)):
            chosen = None
            if turn % TURNS_TO_OLD == 0:
                chosen = next((each for each in oldest if each.id not in yielded), None)
                if chosen is not None and chosen.since > old_before:
                    oldest = iter(())  # nor is any behind it
                    chosen = None
            if chosen is None:
                chosen = next(each for each in by_urgency if each.id not in yielded)
            yielded.add(chosen.id)
            yield chosen.id

    def first(self, most: int) -> list[int]:
        """Return the next in order."""
        return list(islice(self.order(), most))

    def seconds_to_room(self, places: int) -> float:
        """Estimate how long it takes until one of those who run on `places` places ends."""
        longest = max((self._clock() - each.begun for each in self._running.values()), default=0.0)
        return max(self.usual_s, longest) / max(places, 1)

    def _by_urgency(self) -> Iterator[Waiting]:
        levels: dict[Level, dict[str, list[Waiting]]] = {}
        for each in self._waiting.values():
            levels.setdefault(each.level, {}).setdefault(each.caller, []).append(each)
        running = Counter(each.caller for each in self._running.values())
        shares = {caller: (self._used(caller), running[caller]) for caller in self._present}
        for level in sorted(levels):
            yield from self._by_share(levels[level], shares)

    def _by_share(self, by_caller: dict[str, list[Waiting]], shares: dict[str, tuple[float, int]]) -> Iterator[Waiting]:
        """Yield those of one level, always one of the caller who has had least, or runs least, or came first."""
        queues = {caller: iter(waiting) for caller, waiting in by_caller.items()}
        heap: list[tuple[tuple[float, int], int, str, Waiting]] = []
        for caller, queue in queues.items():
            first = next(queue)
            heapq.heappush(heap, (shares[caller], first.id, caller, first))
        while heap:
            (used_s, running), _, caller, waiting = heap[0]
            yield waiting
            shares[caller] = used_s + self._expected_s, running + 1
            following = next(queues[caller], None)
            if following is None:
                heapq.heappop(heap)
            else:
                heapq.heapreplace(heap, (shares[caller], following.id, caller, following))

    @property
    def _expected_s(self) -> float:
        return self.usual_s or FIRST_GUESS_S

    def _used(self, caller: str) -> float:
        """Return how much of the engine's time a caller has had, with what its running requests will probably take."""
        now = self._clock()
        running = (each for each in self._running.values() if each.caller == caller)
        return self._used_s[caller] + sum(max(now - each.begun, self._expected_s) for each in running)

    def _forget(self, caller: str) -> None:
        """Forget one request of a caller, and with the last of all what everybody has had."""
        self._present[caller] -= 1
        if not self._present[caller]:
            del self._present[caller]
        if not self._present:
            self._used_s.clear()
