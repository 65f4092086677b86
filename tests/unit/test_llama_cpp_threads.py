"""Choosing a number of threads by measuring, with a clock that the test turns."""

from __future__ import annotations

import pytest

pytest.importorskip("llama_cpp")

from localai_flask.backends.llama_cpp.threads.thread_count import BUDGET_S, candidates, choose_threads


class Machine:
    """Steps that take as long as the test says, on a clock that they advance."""

    def __init__(self, cost):
        self.now, self.cost, self.steps = 0.0, cost, []

    def step(self, threads: int) -> None:
        self.steps.append(threads)
        self.now += self.cost(threads, len(self.steps))

    def choose(self, cores: int) -> int:
        return choose_threads(self.step, candidates(cores), lambda: self.now).threads


@pytest.mark.parametrize(
    ("cost", "chosen"),
    [
        (lambda threads: 0.001, 1),  # more threads do not help
        (lambda threads: 0.001 / threads, 6),
        (lambda threads: 0.001 * threads, 1),
        (lambda threads: 0.001 / min(threads, 2), 2),
        (lambda threads: 0.001 * (1.0 - 0.01 * threads), 1),  # not worth a core
    ],
)
def test_as_many_threads_are_chosen_as_help(cost, chosen):
    assert Machine(lambda threads, _: cost(threads)).choose(6) == chosen


def test_a_machine_with_one_core_needs_no_measurement():
    machine = Machine(lambda threads, _: 1.0)
    assert (machine.choose(1), machine.steps) == (1, [])


def test_one_slow_step_does_not_mislead():
    def cost(threads: int, number: int) -> float:
        return 0.02 if number == 5 else 0.001 / threads

    assert Machine(cost).choose(2) == 2


def test_long_steps_take_all_cores_and_little_time():
    machine = Machine(lambda threads, _: BUDGET_S / 2 / threads)
    assert machine.choose(4) == 4
    assert machine.now < 2 * BUDGET_S
