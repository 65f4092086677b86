"""OpenMP, whose threads compute llama.cpp's steps: whether they spin or sleep while they wait for each other.

Loads it when it is imported. Owns the environment for that, and the threads that stand by. Knows no model.
"""

from __future__ import annotations

import ctypes
import os
import threading

SPINS = 10_000
"""How often a thread that spins looks for work before it sleeps; libgomp's own default is 300,000.

On two cores of an EPYC 9005 they take 0.4 ms, and a step of SmolLM2 took 6.6 ms; with 1,000 it took 8.8, with 30,000
7.0, and 11.5 where threads slept at once. Beside two busy processes it took 80 ms, with 1,000 38, and 12 asleep.
"""
MOST_PROCESSORS = 64
"""Threads on machines with more sleep at once, since as many would have to stand by."""
OWN = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "OMP_THREAD_LIMIT")
"""Variables whose user has decided how threads wait."""


class SpinSwitch:
    """Has the threads of this process spin before they sleep, or sleep at once.

    libgomp has no call for that. But with OMP_WAIT_POLICY=passive it lets threads spin only while it has no more of
    them than there are processors, and counts those too that another team has left waiting. So a team of as many
    threads as processors, which computes nothing, sends every other team to sleep until it ends.
    """

    def __init__(self, library: ctypes.CDLL, processors: int):
        self._start_team = library.GOMP_parallel
        self._start_team.restype = None
        self._start_team.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint
        self._nothing = ctypes.cast(library.omp_in_parallel, ctypes.c_void_p)  # it takes no argument and does nothing
        self._processors = processors
        self._standby: threading.Thread | None = None
        self._end = threading.Event()

    @property
    def spins(self) -> bool:
        return self._standby is None

    def set(self, *, spins: bool) -> None:
        """Switch, between two steps."""
        if spins == self.spins:
            return
        if self._standby is not None:
            self._end.set()
            self._standby.join()
            self._standby = None
            return
        started = threading.Event()
        self._end.clear()
        self._standby = threading.Thread(target=self._stand_by, args=[started], name="standby", daemon=True)
        self._standby.start()
        started.wait()

    def _stand_by(self, started: threading.Event) -> None:
        """Lead the idle team; libgomp ends it with its leader."""
        self._start_team(self._nothing, None, self._processors, 0)
        started.set()
        self._end.wait()


def load() -> SpinSwitch | None:
    """Load libgomp, before anything that is linked to it; return the switch if there is a choice.

    It reads its variables once, when it is loaded. GOMP_SPINCOUNT is taken back afterwards, as children of this process
    have no switch; the policy stays for other libraries of OpenMP, which llama.cpp may have been built with.
    """
    is_decided = any(name in os.environ for name in OWN)
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    processors = len(os.sched_getaffinity(0))
    if is_decided or not 1 < processors <= MOST_PROCESSORS:
        return None
    os.environ["GOMP_SPINCOUNT"] = str(SPINS)
    try:
        return SpinSwitch(ctypes.CDLL("libgomp.so.1"), processors)
    except OSError:  # llama.cpp was built with another OpenMP, or with none
        return None
    finally:
        del os.environ["GOMP_SPINCOUNT"]


spin_switch = load()
"""None where threads always wait in the same way."""
