"""Choosing how threads wait, on a machine whose steps take as long as the test says, with a clock that they advance."""

from __future__ import annotations

from localai_flask.backends.llama_cpp.threads.waiting import LATE_S, SOON_S, STEPS, WaitChoice

SPINNING_IDLE, ASLEEP = 0.006, 0.012
SPINNING_BUSY = 0.2


class Machine:
    """Computes steps; spinning suits it only while it is idle."""

    def __init__(self, *, spins: bool, busy: bool = False):
        self.now, self.busy, self.steps = 0.0, busy, []
        self.choice = WaitChoice(spins=spins, clock=lambda: self.now)

    def step(self, kind: object = 1) -> None:
        spins = self.choice.spins
        seconds = (SPINNING_BUSY if self.busy else SPINNING_IDLE) if spins else ASLEEP
        self.now += seconds
        self.steps.append(spins)
        self.choice.observe(kind, seconds)

    def run(self, seconds: float) -> float:
        """Compute for that long; return the share of the time in which threads spun."""
        begun, spun = self.now, 0.0
        while self.now < begun + seconds:
            before = self.now
            self.step()
            spun += (self.now - before) * self.steps[-1]
        return spun / (self.now - begun)


def test_the_better_way_is_kept_and_the_other_seldom_tried():
    assert Machine(spins=True).run(100) > 0.97
    assert Machine(spins=False, busy=True).run(100) < 0.05


def test_a_wrong_choice_is_mended_soon():
    idle, busy = Machine(spins=False), Machine(spins=True, busy=True)
    for machine in (idle, busy):
        machine.run(SOON_S + 2 * STEPS * SPINNING_BUSY)
    assert (idle.choice.spins, busy.choice.spins) == (True, False)


def test_threads_stop_spinning_as_soon_as_the_machine_is_busy_and_spin_again_when_it_is_idle():
    machine = Machine(spins=True)
    machine.run(100)
    machine.busy = True
    machine.run(STEPS * SPINNING_BUSY)
    assert machine.run(10) < 0.1
    machine.run(100)
    machine.busy = False
    machine.run(LATE_S + 1)
    assert machine.run(10) > 0.9


def test_on_a_busy_machine_one_step_at_a_time_tries_to_spin():
    machine = Machine(spins=False, busy=True)
    machine.run(100)
    tries = "".join("x" if spins else "." for spins in machine.steps).split(".")
    assert set(tries) == {"", "x"}


def test_steps_of_different_kinds_are_not_compared():
    machine = Machine(spins=False)
    machine.run(SOON_S)
    while not machine.choice.spins:
        machine.step()
    machine.step(kind=2)  # while the other way is tried
    assert not machine.choice.spins
    for number in range(10 * STEPS):
        machine.step(kind=number % 2)
    assert not any(machine.steps[-10 * STEPS :])


def test_two_ways_alike_leave_the_choice_as_it_is():
    machine = Machine(spins=True)
    while machine.now < 100:
        seconds = SPINNING_IDLE * (1.0 if machine.choice.spins else 0.97)
        machine.now += seconds
        machine.choice.observe(1, seconds)
    assert machine.choice._chosen


def test_of_long_steps_few_are_tried_in_the_other_way():
    machine = Machine(spins=True)
    for _ in range(100):
        spins = machine.choice.spins
        machine.steps.append(spins)
        machine.now += 0.6
        machine.choice.observe(1, 0.6)
    assert machine.steps.count(False) <= 2 * 100 * 0.6 / LATE_S + 4
    assert "xxx" not in "".join(".x"[not spins] for spins in machine.steps)
