"""One round: load, a blow, and whether every promise was kept."""

from __future__ import annotations

import random
import threading
import time

from tests.chaos import census
from tests.chaos.blows import Blow
from tests.chaos.families import Ending, Request, run
from tests.chaos.load import ECHO, TOY, Load, await_service
from tests.chaos.probes import Prober
from tests.chaos.promises import (
    BACK_S,
    RECOVERY_S,
    SETTLED_S,
    Findings,
    Promise,
    check_nothing_left,
    check_probes,
    check_requests,
    check_spared,
)
from tests.chaos.stage import ECHO_SLOTS, MODELS, TOY_CONTEXT, TOY_SLOTS, UNFINISHED, WEB_WORKERS, Stage

BEFORE_S, AFTER_S = 1.0, 1.0
"""How long the load runs before the blow, and once service is back."""
WARM_S = 10.0
RUNS = 2
"""Background responses that are under way at a blow."""


def play(stage: Stage, blow: Blow, seed: int, slack: float) -> Findings:
    """Strike once and check everything; `slack` is by how much a busy machine may be slower than what is promised."""
    rng, findings = random.Random(f"{seed}/{blow.name}"), Findings()
    before = stage.counted = stage.counted or warm_and_count(stage, None)
    stage.baseline = stage.baseline or before
    runs = stage.queue_runs(RUNS)
    port = stage.server.port
    with Load(port, rng.randrange(2**32)) as load, Prober(port) as prober:
        time.sleep(BEFORE_S + rng.random() / 2)
        struck = time.monotonic()
        with blow.strike(stage, rng):
            time.sleep(blow.lasts_s)
        if blow.ends_server:
            stage.start_anew()
        over = time.monotonic()
        back, last = await_service(port, over + BACK_S * slack)
        if back is None:
            findings.breaks(Promise.BACK, f"not within {BACK_S * slack:g} s: {last}")
        else:
            findings.back_s = back - over
            findings.check_time(Promise.BACK, "service", back - over, BACK_S, slack)
        time.sleep(AFTER_S)
    check_requests(load.done, struck, blow.effects, slack, findings)
    check_probes(prober.seen, blow.effects, slack, findings)
    check_stored(stage, blow, load.stored(), runs, slack, findings)
    check_capacity(stage, findings)
    after = stage.counted = warm_and_count(stage, stage.baseline)
    check_nothing_left(stage.baseline, after, stage.spare_sockets, findings)
    if not blow.ends_server:
        check_spared(before, after, blow.effects, findings)
    return findings


def warm_up(stage: Stage) -> None:
    """Have every process open what it opens once: threads, channels to the models, connections to the database."""
    deadline = time.monotonic() + WARM_S
    while (cold := _cold_roles(stage)) and time.monotonic() < deadline:
        if "background process" in cold:
            stage.await_runs([id for model in (ECHO, TOY) for id in stage.queue_runs(1, model)], deadline)
        with Load(stage.server.port, 0):
            time.sleep(0.5)


def _cold_roles(stage: Stage) -> set[str]:
    """Return the roles with processes that have no channel to one of the models yet."""
    roles = census.take(stage.server).by_role()
    wanted = {"web worker": WEB_WORKERS, "background process": 1}
    return {
        role
        for role, count in wanted.items()
        if len(roles.get(role, [])) < count or any(each.channels < MODELS for each in roles[role])
    }


def warm_and_count(stage: Stage, before: census.Census | None) -> census.Census:
    """Count once nothing changes any more, or no more is there than before."""
    warm_up(stage)
    deadline = time.monotonic() + SETTLED_S
    last = census.take(stage.server)
    while time.monotonic() < deadline:
        time.sleep(0.5)
        now = census.take(stage.server)
        if (before is None and now.totals() == last.totals()) or (
            before is not None and not now.above(before, stage.spare_sockets)
        ):
            return now
        last = now
    return last


def check_capacity(stage: Stage, findings: Findings) -> None:
    """Fill every slot at once, with as much context as a request may have."""
    full = "x " * (TOY_CONTEXT // 4)
    toys = [Request("chat", False, TOY, full, 16, own_s=5.0) for _ in range(TOY_SLOTS)]
    script = '{"say": "abcdefgh", "pace_ms": 100}'
    echoes = [Request("chat", False, ECHO, script, 100, "abcdefgh", own_s=1.0) for _ in range(ECHO_SLOTS)]
    threads = [threading.Thread(target=run, args=(each, stage.server.port)) for each in (*toys, *echoes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for each in (*toys, *echoes):
        if each.ending is not Ending.ANSWERED:
            findings.breaks(Promise.CAPACITY, str(each))
    slowest = max(echo.took_s for echo in echoes)
    if slowest > 2 * 0.8 + 2:  # twice its own time says that one has waited for another
        findings.late.append(f"{ECHO_SLOTS} requests at once took {slowest:.1f} s instead of 0.8 s")


def check_stored(
    stage: Stage, blow: Blow, stored: dict[str, str], runs: list[str], slack: float, findings: Findings
) -> None:
    deadline = time.monotonic() + RECOVERY_S * slack
    if len(runs) < RUNS:
        findings.breaks(Promise.ENDED, "a background response was refused before the blow")
    for id in runs:
        _check_run(stage, blow, id, deadline, findings)
    while (left := stage.unfinished_rows()) and time.monotonic() < deadline:
        time.sleep(0.2)
    if left:
        findings.breaks(Promise.WHOLE, f"{left} responses are in progress")
    if (said := stage.integrity()) != "ok":
        findings.breaks(Promise.WHOLE, f"the database: {said}")
    if blow.effects.loses_stored:
        return
    for id, text in list(stored.items())[-50:]:
        status, answer = stage.get(id)
        if status != 200 or "".join(p["text"] for item in answer["output"] for p in item["content"]) != text:
            findings.breaks(Promise.WHOLE, f"stored response {id}: {status} {answer}")


def _check_run(stage: Stage, blow: Blow, id: str, deadline: float, findings: Findings) -> None:
    while True:
        status, answer = stage.get(id)
        if status == 200 and answer["status"] not in UNFINISHED:
            break
        if status == 404 and blow.effects.loses_stored:
            return
        if time.monotonic() > deadline:
            if not blow.effects.loses_stored:
                findings.breaks(Promise.WHOLE, f"background response {id}: {status} {answer}")
            return
        time.sleep(0.2)
    may_fail = blow.effects.loses_runs or "model worker" in blow.effects.replaces
    if answer["status"] != "completed" and not (may_fail and answer["status"] == "failed"):
        findings.breaks(Promise.WHOLE, f"background response {id} is {answer['status']}: {answer['error']}")
