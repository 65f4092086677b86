"""What model workers count, read from the files that outlive them."""

from __future__ import annotations

from localai_flask.metrics import families
from localai_flask.metrics.exposition import Page, read_folder
from tests.support.pool import Pool, echo
from tests.support.processes import wait_for


def loads(pool: Pool) -> dict[str, float]:
    """Return the loads that have ended, by how they did."""
    page = Page()
    read_folder(page, pool.runtime.path)
    (metric,) = (each for each in page.collect() if each.name == families.LOADS.name.removesuffix("_total"))
    return {sample.labels["outcome"]: sample.value for sample in metric.samples}


def test_a_load_counts_once_however_soon_its_worker_leaves(pool: Pool) -> None:
    for count in (1, 2, 3):
        pool.session(echo())
        assert pool.client.unload("echo", by_force=False)
        wait_for(lambda: not pool.workers(), 10, "the worker to leave")
        wait_for(lambda: not pool.client.is_loaded(echo()), 10, "the client to hear of it")
        assert loads(pool) == {"ok": count, "failed": 0}
