"""How OpenMP's threads wait, as the process's own time shows: spinning takes it, sleeping does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("llama_cpp")

from localai_flask.backends.llama_cpp.model.library import spin_switch
from localai_flask.backends.llama_cpp.threads.compute_threads import ComputeThreads
from localai_flask.backends.llama_cpp.threads.thread_count import Choice
from localai_flask.machine import physical_cores
from tests.engine.conftest import load_engine

WAIT = """
import ctypes, json, os, sys, time
from localai_flask.backends.llama_cpp.model.library import capture_log, lib, spin_switch

log = capture_log()
start_team = ctypes.CDLL("libgomp.so.1").GOMP_parallel
start_team.argtypes = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint, ctypes.c_uint
start_team.restype = None
nothing = ctypes.cast(ctypes.CDLL("libgomp.so.1").omp_in_parallel, ctypes.c_void_p)

def spun():
    '''Return the CPU time that teams of two take after their work, in ms.'''
    begun = time.process_time()
    for _ in range(20):
        start_team(nothing, None, 2, 0)
        time.sleep(0.01)
    return 1e3 * (time.process_time() - begun)

spun()
found = {"at first": spun()}
if spin_switch is not None:
    for spins in (True, False, True):
        spin_switch.set(spins=spins)
        found.setdefault("spinning" if spins else "asleep", []).append(spun())
print(json.dumps(found | {"inherited": os.environ.get("GOMP_SPINCOUNT")}))
"""


def wait(**environment: str) -> dict:
    """Run the above in a process of its own, as OpenMP reads its variables once."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))}
    done = subprocess.run(
        [sys.executable, "-c", WAIT], env=kept | environment, capture_output=True, text=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="with one processor threads always sleep")
def test_threads_sleep_at_first_and_spin_when_told_to():
    found = wait()
    least = min(found["spinning"])
    assert found["at first"] < least / 2
    assert max(found["asleep"]) < least / 2
    assert found["inherited"] is None


@pytest.mark.parametrize(
    "own", [{"OMP_WAIT_POLICY": "active", "GOMP_SPINCOUNT": "200000"}, {"GOMP_SPINCOUNT": "200000"}]
)
def test_what_the_user_has_set_is_left_alone(own):
    found = wait(**own)
    assert found.keys() == {"at first", "inherited"}
    assert found["inherited"] == "200000"


def test_a_passive_policy_of_the_users_own_never_spins():
    assert wait(OMP_WAIT_POLICY="passive").keys() == {"at first", "inherited"}


@pytest.mark.skipif(spin_switch is None, reason="threads always wait in the same way here")
def test_each_step_waits_as_it_was_chosen(open_engine):
    engine = open_engine("llama", threads=2)
    choice = engine.backend.model.threads.wait
    seen = []
    for spins in (True, False, True):
        choice.spins = choice._chosen = spins
        engine.generate("abc", max_tokens=2, ignore_eos=True)
        seen.append(spin_switch.spins)
    assert seen == [True, False, True]


@pytest.mark.skipif(spin_switch is None, reason="threads always wait in the same way here")
def test_a_draft_model_does_not_decide_how_threads_wait(gguf):
    engine = load_engine(gguf["llama"], threads=2, draft_model="llama.gguf")
    backend = engine.backend
    assert backend.model.threads.wait is not None
    assert backend._speculator._drafters[0].model.threads.wait is None
    backend.close()


def test_one_thread_waits_for_nobody(open_engine):
    assert open_engine("llama", "threads_batch:1", threads=1).backend.model.threads.wait is None


@pytest.mark.skipif(spin_switch is None, reason="threads always wait in the same way here")
def test_all_cores_are_tried_again_if_one_thread_was_faster_at_load(open_engine, monkeypatch):
    monkeypatch.setattr(ComputeThreads, "_measure_decoding", lambda *_: Choice(1, 0.001))
    model = open_engine("llama").backend.model
    assert model.threads.wait is not None
    assert model.threads.decoding_spinning == physical_cores()
    assert not model.threads.wait.spins
