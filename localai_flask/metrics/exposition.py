"""The one page of all counts: those of every process of this server, added up, in the form that the scraper asks for.

Reads files and what it is given; asks no process anything, so that none can hold it up.
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import accumulate
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.openmetrics.exposition import ALLOWUTF8
from prometheus_client.utils import floatToGoString

from localai_flask.metrics.counts import FOLDER
from localai_flask.metrics.counts_file import SUFFIX, Block, read_counts
from localai_flask.metrics.families import FAMILIES, MODEL, Family, Labels

ESCAPING = re.compile(r";\s*escaping=[^;,\s]*")
"""What a scraper says of names that need to be escaped."""
Series = dict[Labels, list[float]]


class Page:
    """Series of all families; prometheus_client takes it for a registry."""

    def __init__(self) -> None:
        self._series: defaultdict[Family, Series] = defaultdict(dict)

    def add(self, blocks: Iterable[Block], *, is_alive: bool = True) -> None:
        """Add what one process has counted; its gauges count only while it lives."""
        for block in blocks:
            family = FAMILIES.get(block.key.family)
            if family is None or (family.kind == "gauge" and not is_alive):
                continue
            numbers = self._series[family].get(block.key.labels)
            added = block.numbers if numbers is None else map(float.__add__, numbers, block.numbers)
            self._series[family][block.key.labels] = list(added)

    def set(self, family: Family, labels: Labels, value: float) -> None:
        """Set a gauge that no process counts."""
        self._series[family][labels] = [float(value)]

    def series(self, family: Family) -> Series:
        """Return the numbers of one family, by its labels."""
        return self._series.get(family, {})

    def collect(self) -> Iterator[Metric]:
        for family in FAMILIES.values():
            series = self._series.get(family)
            if series:
                yield _metric(family, series if family.kind != "gauge" else _with_numbered_engines(family, series))

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the page, and its content type, in the form that an Accept header prefers."""
        encode, content_type = choose_encoder(ESCAPING.sub("", accept))
        if isinstance(encode, partial):
            # No name needs to be escaped, and prometheus_client takes the colon out of some all the same.
            return encode(self, escaping=ALLOWUTF8), content_type
        return encode(self), content_type


def sum_elsewhere(family: Family, runtime: Path) -> float:
    """Return the sum of a series without labels over all other processes of a server that live."""
    total = 0.0
    for path in (runtime / FOLDER).glob(f"*{SUFFIX}"):
        pid, blocks = read_counts(path)
        if pid != os.getpid() and _is_alive(pid):
            total += sum(block.numbers[0] for block in blocks if block.key.family == family.name)
    return total


def read_folder(page: Page, runtime: Path) -> None:
    """Add the counts of all processes of a server to a page."""
    for path in sorted((runtime / FOLDER).glob(f"*{SUFFIX}")):
        pid, blocks = read_counts(path)
        page.add(blocks, is_alive=_is_alive(pid))


def _is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def _with_numbered_engines(family: Family, series: Series) -> Series:
    """Number the replicas of each model, whose workers know no number, in the order of their ids."""
    if family.labels != MODEL:
        return series
    engines: defaultdict[str, list[str]] = defaultdict(list)
    for model, engine in sorted(series):
        engines[model].append(engine)
    return {(model, str(engines[model].index(engine))): numbers for (model, engine), numbers in series.items()}


def _metric(family: Family, series: Series) -> Metric:
    name = family.name.removesuffix("_total") if family.kind == "counter" else family.name
    metric = Metric(name, family.help, family.kind)
    for values, numbers in sorted(series.items()):
        labels = dict(zip(family.labels, values, strict=True))
        if family.kind != "histogram":
            metric.add_sample(family.name, labels, numbers[0])
            continue
        *counts, total = numbers
        bounds = [*map(floatToGoString, family.buckets), "+Inf"]
        for bound, below in zip(bounds, accumulate(counts), strict=True):
            metric.add_sample(f"{name}_bucket", {**labels, "le": bound}, below)
        metric.add_sample(f"{name}_count", labels, sum(counts))
        metric.add_sample(f"{name}_sum", labels, total)
    return metric
