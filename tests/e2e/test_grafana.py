"""The board that is shipped, held to what a server really exposes after real requests."""

from __future__ import annotations

import json
import re
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml
from prometheus_client import parser
from prometheus_client.metrics_core import Metric

from tests.e2e.conftest import MODELS
from tests.e2e.test_life import CHAT
from tests.support.processes import wait_for
from tests.support.server import Server

FOLDER = Path(__file__).parents[2] / "deploy" / "grafana"
BOARD: dict[str, Any] = json.loads((FOLDER / "localai-flask.json").read_text())
PANELS = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
LE = "le"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Metric]]:
    """What a server exposes that has answered, refused and unloaded."""
    folder = tmp_path_factory.mktemp("grafana")
    models = folder / "models"
    models.mkdir()
    (models / "demo.gguf").symlink_to(MODELS / "demo.gguf")
    (models / "demo.yaml").write_text((MODELS / "demo.yaml").read_text())
    with Server(models, folder, LOCALAI_LOAD_TO_MEMORY="demo") as server:
        ask = {"model": "demo", "max_tokens": 8, "messages": [{"role": "user", "content": "Tell me a story."}]}
        assert server.post(CHAT, ask)[0] == server.post("/v1/messages", ask)[0] == 200
        assert server.post(CHAT, {**ask, "model": "nobody"})[0] == 404

        def scrape() -> list[Metric]:
            with urllib.request.urlopen(server.url + "/metrics", timeout=5) as answer:
                return list(parser.text_string_to_metric_families(answer.read().decode()))

        def shows_loads() -> list[Metric]:
            found = scrape()
            return found if any(each.name == "localai_flask_model_load_seconds" for each in found) else []

        yield wait_for(shows_loads, 10, "the worker has shown its load")


def expressions() -> Iterator[str]:
    for panel in PANELS:
        for target in panel["targets"]:
            yield target["expr"]
    for variable in BOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]["query"]).groups()  # type: ignore[union-attr]
            yield f"sum by ({label}) ({metric})"


def used(expression: str) -> dict[str, set[str]]:
    """The labels that an expression asks of each metric: in matchers, and in what it sums by."""
    text = expression.replace("$__rate_interval", "1m").replace("$model_name", ".*")
    found: defaultdict[str, set[str]] = defaultdict(set)

    def walk(node: Any, by: frozenset[str]) -> None:
        if isinstance(node, promql_parser.AggregateExpr):
            walk(node.expr, by | frozenset(node.modifier.labels if node.modifier else ()))
        elif isinstance(node, promql_parser.BinaryExpr):
            walk(node.lhs, by)
            walk(node.rhs, by)
        elif isinstance(node, promql_parser.Call):
            for argument in node.args:
                walk(argument, by)
        elif isinstance(node, promql_parser.MatrixSelector):
            walk(node.vector_selector, by)
        elif isinstance(node, promql_parser.VectorSelector):
            found[node.name] |= by | {matcher.name for matcher in node.matchers.matchers}
        else:
            assert isinstance(node, promql_parser.NumberLiteral), node

    walk(promql_parser.parse(text), frozenset())
    return found


def test_every_metric_and_label_of_the_board_is_exposed(page: list[Metric]) -> None:
    exposed: defaultdict[str, set[str]] = defaultdict(set)
    for metric in page:
        for sample in metric.samples:
            exposed[sample.name] |= set(sample.labels)
    asked = 0
    for expression in expressions():
        for name, labels in used(expression).items():
            asked += 1
            assert name in exposed, f"{expression}: no metric {name}"
            assert labels <= exposed[name], f"{expression}: {name} has no label {labels - exposed[name]}"
    assert asked > 50


def test_legends_name_labels_that_are_left(page: list[Metric]) -> None:
    for panel in PANELS:
        for target in panel["targets"]:
            for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                assert any(label in labels for labels in used(target["expr"]).values()) or label == "state", target


def test_what_is_exposed_is_well_formed(page: list[Metric]) -> None:
    """The rules of `promtool check metrics`, which is not a Python package."""
    for metric in page:
        assert metric.documentation and metric.type in SUFFIXES, metric.name
        assert re.fullmatch(r"[a-z][a-z0-9_]*(:[a-z0-9_]+)?", metric.name), metric.name
        names = {sample.name for sample in metric.samples}
        assert names == {metric.name + suffix for suffix in SUFFIXES[metric.type]}, names
        assert not re.search(r"_(milliseconds|ms|minutes|kb|mb|percent)(_|$)", metric.name), "base units only"
        assert metric.name.startswith(("vllm:", "localai_", "api_call"))
        for sample in metric.samples:
            assert (LE in sample.labels) == sample.name.endswith("_bucket")


def test_the_board_is_whole() -> None:
    ids = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(ids)) == len(ids) and len(PANELS) > 20
    for panel in PANELS:
        assert panel["title"] and panel["description"] and panel["datasource"]["uid"] == "${datasource}"
        place = panel["gridPos"]
        assert place["x"] >= 0 and place["x"] + place["w"] <= 24
    (job,) = yaml.safe_load((FOLDER / "prometheus.yml").read_text())["scrape_configs"]
    assert job["metrics_path"] == "/metrics" and job["scrape_timeout"] < job["scrape_interval"]
