"""Which models are let in, and which have to leave for them: places, memory, groups, and whose turn it is.

Who has waited longest comes first, and what it waits for is kept free for it. A model leaves if nobody uses it, the
least recently used first; a busy one only takes no more requests, when it has had its turn and another has waited for
long. Memory counts as taken until its process has ended, so that nothing is loaded beside what still leaves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping

from localai_flask.errors import ErrorInfo, NoRoom
from localai_flask.machine import SPARED_BYTES
from localai_flask.pool.manager.plan.actions import Action, Refuse, Start, Unload
from localai_flask.pool.manager.plan.rules import Rules
from localai_flask.pool.manager.table.entries import SETTLE_S, ModelEntry

TURN_S = 10.0
"""How long a model with requests serves at least before it has to make room; at least as long as it took to load."""

GIVE_BACK_S = 10.0
"""How long a model waits at most for what others give back."""


def admit(models: Mapping[str, ModelEntry], rules: Rules, now: float) -> Iterator[Action]:
    """Start what is missing where there is room, and make room where there is none."""
    room = _Room(models, rules, now)
    missing = [key for key, model in models.items() if model.should_run(now) and room.missing(key)]
    for key in sorted(missing, key=lambda key: _turn(models[key], now)):
        yield from room.let_in(key)
    yield from room.relieve()


def _turn(model: ModelEntry, now: float) -> tuple[bool, float]:
    """Return what orders models that are to be loaded: those that serve, then by how long requests have waited."""
    return not model.current, -(model.asked_s(now) or 0.0)


class _Room:
    """What is taken, and what will be by what was let in before or is to come next."""

    def __init__(self, models: Mapping[str, ModelEntry], rules: Rules, now: float):
        self._models, self._rules, self._now = models, rules, now
        self._present = {key for key, model in models.items() if model.workers}
        self._bytes: dict[str, float] = {key: models[key].held_bytes for key in self._present}
        self._returnable = {key: models[key].returnable_bytes for key in self._present}
        """What models keep for later only, and give back before another is loaded (`grants.py`)."""
        self._going = {key for key in self._present if not models[key].current}
        """Models of which all workers are leaving."""
        has_too_many = rules.max_models and len(self._present) > rules.max_models
        self._is_overfull = has_too_many or self._free_bytes(set()) < 0

    def missing(self, key: str) -> int:
        model = self._models[key]
        return model.config.replicas - len(model.current)

    def let_in(self, key: str) -> Iterator[Action]:
        """Start the workers that a model lacks, or see to it that it can have its first one soon."""
        model = self._models[key]
        if model.current or not (self._lacks(key, set()) or self._waits_for_its_own(key)):
            if self._awaits_memory(key):
                self._take(key)
            else:
                yield from self._start(key, self.missing(key))
        elif not self._lacks(key, set()):
            self._take(key)
        elif model.asked_s(self._now) is None and not model.awaits:
            yield from self._give_up(key)
        elif (victims := self._choose(key, self._candidates(key))) is not None:
            yield from self._unload(victims - self._going, key)
            self._take(key)
        elif self._choose(key, self._movable(key)) is not None:
            self._take(key)  # in a while
        else:
            yield Refuse(key, model.room_error or self._no_room(key))

    def relieve(self) -> Iterator[Action]:
        """Unload the least recently used model if more is loaded than may be.

        That is so where models have come to take more memory, or limits have been lowered.
        """
        idle = [key for key in self._others("") if key not in self._going and self._may_leave(key, key)]
        idle = [key for key in sorted(idle, key=self._precedence) if not self._models[key].is_busy(self._now)]
        if idle and len(self._present) > 1 and not self._going and self._is_overfull:
            yield Unload(idle[0], "leaves, as more is loaded than may be")

    def _give_up(self, key: str) -> Iterator[Action]:
        """Take no place from others for a model that nobody waits for."""
        model = self._models[key]
        if model.intent.required:
            yield Refuse(key, self._no_room(key), until_asked=True)
        else:
            yield Unload(key, "finds no room, and nobody waits for it")

    def _start(self, key: str, count: int) -> Iterator[Action]:
        """Start the first worker, for which there is room, and others as far as there is."""
        model, need = self._models[key], self._need(key)
        for number in range(count):
            is_first = number == 0 and not model.current
            if is_first or self._free_bytes(set()) - sum(self._returnable.values()) >= need:
                self._take(key)
                yield Start(key)

    def _take(self, key: str) -> None:
        """Count a model as loaded, so that what it takes is kept for it."""
        self._present.add(key)
        self._bytes[key] = self._bytes.get(key, 0) + self._need(key)

    def _unload(self, victims: Iterable[str], key: str) -> Iterator[Action]:
        for victim in sorted(victims):
            self._going.add(victim)
            is_busy = self._models[victim].is_busy(self._now)
            is_forced = self._rules.forces_eviction and is_busy
            because = f"makes room for {self._models[key].config.name}"
            because += " when its requests have ended" if is_busy and not is_forced else ""
            yield Unload(victim, because, is_forced, in_favour_of=key)

    def _movable(self, key: str) -> list[str]:
        """Return the models that may leave at some time."""
        return [each for each in self._present if each != key and not self._models[each].is_pinned]

    def _others(self, key: str) -> list[str]:
        return [each for each in self._present if each != key and self._models[each].workers]

    def _candidates(self, key: str) -> list[str]:
        """Return the models that may leave now for another, in the order in which they do: who leaves already first."""
        may_leave = [each for each in self._others(key) if each in self._going or self._may_leave(each, key)]
        return sorted(may_leave, key=self._precedence)

    def _precedence(self, key: str) -> tuple[bool, bool, float]:
        model = self._models[key]
        return (
            key not in self._going,
            math.isinf(model.keep_alive_s(self._rules.idle_timeout_s)) and model.has_keep_alive,
            max(model.used_at, model.ready_at or 0.0),
        )

    def _may_leave(self, key: str, newcomer: str) -> bool:
        model, rules = self._models[key], self._rules
        ready_s = model.ready_s(self._now)
        if model.is_pinned or ready_s is None:  # what is being loaded is waited for
            return False
        if not model.is_busy(self._now):
            return ready_s >= SETTLE_S or model.is_used
        if rules.forces_eviction:
            return True
        waited_s = self._models[newcomer].asked_s(self._now) or 0.0
        has_had_its_turn = ready_s >= max(min(TURN_S, rules.patience_s), model.load_s)
        return has_had_its_turn and waited_s >= rules.patience_s

    def _choose(self, key: str, candidates: list[str]) -> set[str] | None:
        """Return the first candidates that suffice, without those that need not leave; None if all do not."""
        gone: set[str] = set()
        for candidate in candidates:
            if not self._lacks(key, gone):
                break
            gone.add(candidate)
        if self._lacks(key, gone):
            return None
        for candidate in candidates:
            if candidate in gone and candidate not in self._going and not self._lacks(key, gone - {candidate}):
                gone.remove(candidate)
        return gone

    def _lacks(self, key: str, gone: set[str]) -> bool:
        """Return whether a model cannot be loaded beside all that is here but for what is gone."""
        model, rules = self._models[key], self._rules
        beside = self._present - gone - {key}
        groups = set(model.config.concurrency_groups)
        if groups and any(groups & set(self._models[each].config.concurrency_groups) for each in beside):
            return True
        if rules.max_models and len(beside) + 1 > rules.max_models:
            return True
        if (model.room_error is not None and not gone) or model.awaits & self._going - gone:
            return True
        return self._free_bytes(gone | {key}) < self._need(key)

    def _need(self, key: str) -> float:
        """Return how much memory a model is to find free: what its files let expect, or what it has come to take.

        Where nobody has set a budget, a model that is larger than the machine's memory is let try: its weights may be
        read from the disk as they are used.
        """
        budget, model = self._rules.memory_budget, self._models[key]
        if budget is None:
            return model.need_bytes
        pinned = sum(size for other, size in self._bytes.items() if other != key and self._models[other].is_pinned)
        most = max(0, budget - pinned)
        if self._rules.is_budget_firm:
            return max(model.need_bytes, min(model.peak_bytes, most))
        return min(max(model.need_bytes, model.peak_bytes), most)

    def _waits_for_its_own(self, key: str) -> bool:
        """Return whether workers of a model are still leaving, beside which there is no room for another."""
        model = self._models[key]
        return bool(model.workers) and self._free_bytes(set()) < self._need(key)

    def _awaits_memory(self, key: str) -> bool:
        """Return whether others still give back what a model's first worker is to have."""
        model, rules = self._models[key], self._rules
        if model.current or not sum(self._returnable.values()) or (model.asked_s(self._now) or 0.0) > GIVE_BACK_S:
            return False
        bounds = [] if rules.available_bytes is None else [rules.available_bytes - SPARED_BYTES]
        if rules.memory_budget is not None:
            bounds.append(rules.memory_budget - int(sum(self._bytes.values())))
        return min(bounds, default=model.wish_bytes) < model.wish_bytes

    def _free_bytes(self, gone: set[str]) -> float:
        """Return what the budget leaves beside what is not gone, with what that would give back."""
        budget = self._rules.memory_budget
        if budget is None:
            return math.inf
        kept = (size - self._returnable.get(key, 0) for key, size in self._bytes.items() if key not in gone)
        return budget - sum(kept)

    def _no_room(self, key: str) -> ErrorInfo:
        """Describe what a model needs, and who has it."""
        model, rules = self._models[key], self._rules
        name, groups = model.config.name, set(model.config.concurrency_groups)
        beside = [self._models[each] for each in self._present - {key}]
        names = ", ".join(sorted(each.config.name + (" (pinned)" if each.is_pinned else "") for each in beside))
        if any(groups & set(each.config.concurrency_groups) for each in beside):
            why = f"shares a concurrency group with a model that is loaded ({names}); unload that first"
        elif rules.max_models and len(beside) >= rules.max_models:
            why = (
                f"finds no place: LOCALAI_MAX_ACTIVE_BACKENDS lets {rules.max_models} be loaded at once, and there is "
                f"already: {names}; raise it, or unload one"
            )
        else:
            need, budget, free = map(_readable, (self._need(key), rules.memory_budget or 0, self._free_bytes({key})))
            why = f"needs {need} of memory, and of the {budget} that models may take {free} are free"
            why += f" beside {names}" if names else ""
            why += "; use a smaller model or context_size, raise LOCALAI_MEMORY_BUDGET, or unload another"
        return NoRoom(f"Model {name} {why}.").info


def _readable(size: float) -> str:
    return f"{max(size, 0) / 2**20:.0f} MiB" if size < 2**30 else f"{size / 2**30:.1f} GiB"
