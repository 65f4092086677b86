"""The views for operators and developers in a real browser: the pool under load, models from a hub, examples to run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Browser, expect

from localai_flask.keys import file as key_file
from localai_flask.keys.file import Entry
from localai_flask.keys.keyring import digest
from tests.e2e.test_node import packages
from tests.support.barriers import find_barriers
from tests.support.browser import Visitor
from tests.support.fake_hub import Hub
from tests.support.server import Server

__all__ = ["packages"]

DEMO = Path(__file__).parents[2] / "models" / "demo.gguf"
POOL = "name: pool\nbackend: echo\noptions: [scripted, 'slots:2']\n# mine\n"
ROOT = "root's"
BROKEN = "name: broken\nbackend: echo\nparameters: {temperature: hot}\n"


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with Hub() as hub:
        hub.add("somebody/toy-GGUF", {"toy-Q4_K_M.gguf": DEMO.read_bytes()})
        yield hub


@pytest.fixture(scope="module")
def operated(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of one's own, whose hub is near, and whose key makes one an administrator or not."""
    models, scratch = tmp_path_factory.mktemp("models"), tmp_path_factory.mktemp("operated")
    (models / "pool.yaml").write_text(POOL)
    (models / "broken.yaml").write_text(BROKEN)
    (models / "bare.gguf").symlink_to(DEMO)
    (models / "page.gguf").write_text("<html>Not found</html>")
    keys = scratch / "keys.yaml"
    keys.write_text(key_file.render({"user": Entry(digest("user's")), "root": Entry(digest(ROOT), admin=True)}))
    environment = {
        "LOCALAI_API_KEYS_FILE": str(keys),
        "HF_ENDPOINT": hub.root,
        "HF_HOME": str(scratch / "hf"),
        "XDG_DATA_HOME": str(scratch / "data"),
        "LOCALAI_GALLERIES": '[{"name": "localai-flask", "url": "builtin:"}]',
        "NO_PROXY": "127.0.0.1",
        "LOCALAI_FETCH_PRIVATE_ADDRESSES": "true",
    }
    with Server(models, scratch, **environment) as server:
        yield server


def visiting(browser: Browser, key: str = ROOT, **looks: bool) -> Visitor:
    visitor = Visitor(browser, **looks)
    visitor.context.add_init_script(f"localStorage.setItem('localai-flask:key', {json.dumps(key)})")
    return visitor


@pytest.fixture
def operator(browser: Browser) -> Iterator[Visitor]:
    with visiting(browser) as visitor:
        yield visitor


def ask(server: Server, **script: Any) -> int:
    body = {"model": "pool", "max_tokens": 4000, "messages": [{"role": "user", "content": json.dumps(script)}]}
    return server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {ROOT}"})[0]


def end_all(server: Server) -> None:
    headers = {"Authorization": f"Bearer {ROOT}"}
    for each in requests.get(f"{server.url}/requests", headers=headers, timeout=10).json()["data"]:
        requests.delete(f"{server.url}/requests/{each['id']}", headers=headers, timeout=10)


def test_the_picture_changes_under_load(operated: Server, operator: Visitor) -> None:
    page = operator.page
    page.goto(f"{operated.url}/#/server")
    expect(page.get_by_text("No model is in memory.")).to_be_visible()
    with ThreadPoolExecutor(5) as threads:
        slow = [threads.submit(ask, operated, say="x" * 3000, pace_ms=20) for _ in range(5)]
        running = page.get_by_role("group", name="Running in pool").get_by_role("button")
        waiting = page.get_by_role("group", name="Waiting for pool").get_by_role("button")
        expect(running).to_have_count(2)
        expect(waiting).to_have_count(3)
        expect(page.get_by_role("article", name="pool")).to_contain_text("ready")
        expect(page.locator(".tile", has_text="Tokens per second").locator(".tile-value")).to_have_text(
            re.compile(r"\d")
        )
        expect(running.first).to_have_text(re.compile(r"[1-9]\d* ?tokens"))
        assert find_barriers(page) == []
        mark = running.first
        mark.focus()  # by the keyboard alone
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Request")
        expect(dialog).to_contain_text("/v1/chat/completions")
        dialog.get_by_role("button", name="Cancel the request").press("Enter")
        expect(waiting).to_have_count(2)
        expect(running).to_have_count(2)
        while not all(each.done() for each in slow):
            end_all(operated)
        assert [each.result() for each in slow] == [403] * 5
    expect(running).to_have_count(0)
    expect(page.get_by_role("region", name="Recent errors")).to_contain_text("request cancelled")
    expect(page.get_by_role("log")).to_contain_text("model pool is ready")


def test_the_stream_is_taken_up_again(operated: Server, operator: Visitor) -> None:
    page = operator.page
    page.goto(f"{operated.url}/#/server")
    expect(page.get_by_role("status").first).to_contain_text("in memory")
    for pid in operated.web_workers():
        os.kill(pid, signal.SIGKILL)
    expect(page.get_by_text("The connection is lost, and tried again.")).to_be_visible()
    expect(page.get_by_text("The connection is lost, and tried again.")).not_to_be_visible()
    expect(page.get_by_role("status").first).to_contain_text("in memory")


def test_a_model_is_installed_from_the_hub_with_its_bar_moving(operated: Server, hub: Hub, operator: Visitor) -> None:
    hub.cdn.behaviour.chunk, hub.cdn.behaviour.pause_s = 100_000, 0.08
    page = operator.page
    page.goto(f"{operated.url}/#/models")
    page.get_by_role("button", name="Install from an address").click()
    dialog = page.get_by_role("dialog", name="Install from an address")
    dialog.get_by_label("Address").fill("somebody/toy-GGUF")
    page.keyboard.press("Enter")
    bar = page.get_by_role("region", name="On their way").get_by_role("progressbar")
    seen = set()
    for _ in range(200):
        if bar.count():
            seen.add(int(bar.get_attribute("aria-valuenow") or 0))
        if 100 in seen:
            break
        page.wait_for_timeout(100)
    assert len(seen - {0, 100}) >= 2, seen
    toy = page.get_by_role("region", name="Installed").get_by_role("listitem").filter(has_text="toy")
    expect(toy).to_contain_text("on disk")
    toy.get_by_role("button", name=re.compile("^Load ")).click()
    expect(toy).to_contain_text("in memory")
    expect(toy).to_contain_text("takes")
    toy.get_by_role("button", name=re.compile("^Unload ")).click()
    expect(toy).to_contain_text("needs about")


def test_what_is_there_and_what_is_wrong_with_it(operated: Server, browser: Browser) -> None:
    for phone in (False, True):
        with visiting(browser, phone=phone, dark=phone) as visitor:
            page = visitor.page
            page.goto(f"{operated.url}/#/models")
            broken = page.get_by_role("listitem").filter(has_text="cannot be used")
            expect(broken.filter(has_text="`parameters.temperature` must be a number")).to_have_count(1)
            expect(broken.filter(has_text="page.gguf is not a GGUF file")).to_have_count(1)
            expect(page.get_by_role("region", name="From the galleries").get_by_role("listitem").first).to_be_visible()
            assert find_barriers(page) == []
            page.get_by_role("searchbox", name="Search models").fill("coder")
            expect(page.get_by_role("region", name="From the galleries")).to_contain_text("for “coder”")
            expect(page.get_by_text("None that is installed fits.")).to_be_visible()
            page.goto(f"{operated.url}/#/server")
            expect(page.get_by_role("heading", name="Pool", exact=True)).to_be_visible()
            page.wait_for_function("document.querySelectorAll('.tile svg').length > 3")
            assert find_barriers(page) == []


def test_yaml_is_edited_by_one_who_is_told_the_keys(operated: Server, operator: Visitor) -> None:
    page = operator.page
    page.goto(f"{operated.url}/#/models/pool")
    page.get_by_role("tab", name="What it is served with").press("ArrowRight")
    editor = page.get_by_role("textbox", name="YAML of the model")
    expect(editor).to_contain_text("# mine")
    editor.press("Control+End")
    page.keyboard.type("context_si")
    page.get_by_role("option", name=re.compile("^context_size")).wait_for()
    page.wait_for_timeout(150)  # the editor takes Enter for a line's end before
    page.keyboard.press("Enter")
    page.keyboard.type("77")
    expect(page.locator(".key-help")).to_contain_text("a whole number")
    page.keyboard.press("Enter")
    page.keyboard.type("treads: 2")
    expect(page.get_by_text("1 warning")).to_be_visible()
    assert find_barriers(page) == []
    page.keyboard.press("Control+s")
    expect(page.get_by_text("Saved. Requests from now on go by it.")).to_be_visible()
    page.get_by_role("tab", name="What it is served with").click()
    expect(page.get_by_role("row", name=re.compile("context_size"))).to_contain_text("pool.yaml, line 5")
    page.get_by_role("tab", name="YAML").click()
    page.get_by_role("textbox", name="YAML of the model").press("Control+End")
    page.keyboard.type("\nparameters: {temperature: hot}")
    expect(page.get_by_text("1 fault, 1 warning")).to_be_visible()
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".toast").last).to_contain_text("must be a number")


def test_without_the_administrators_key_the_operators_parts_are_not_there(operated: Server, browser: Browser) -> None:
    with visiting(browser, "user's") as visitor:
        page = visitor.page
        page.goto(f"{operated.url}/#/models")
        expect(page.get_by_role("listitem").filter(has_text="pool").first).to_be_visible()
        assert page.get_by_role("button", name=re.compile("^(Load|Unload|Install)")).count() == 0
        assert page.get_by_role("region", name="From the galleries").count() == 0
        assert page.get_by_role("link", name="Server").count() == 0
        page.goto(f"{operated.url}/#/server")
        expect(page.get_by_role("link", name="Chat")).to_have_attribute("aria-current", "page")


WRITE_ALL = """async (models) => {
    const files = document.querySelector('script[type=module]').src.replace('app.js', 'views/try_it/');
    const { LANGUAGES } = await import(files + 'code.js');
    const groups = await (await fetch(files + 'examples.json')).json();
    const filled = (value, model) => value && JSON.parse(JSON.stringify(value).replaceAll('{model}', model));
    return groups.flatMap((group) => group.examples).filter((each) => !each.changes).flatMap((each) => {
        const model = models[each.can] ?? models.other;
        const call = { ...each, path: filled(each.path, model), body: filled(each.body, model) };
        return LANGUAGES.map(({ name, write }) => [name, each.name, write(call, true)]);
    });
}"""
RUN_PYTHON = """
import json, sys
for name, code in json.load(sys.stdin):
    try:
        exec(code, {})
    except Exception as error:
        print("FAILED", name, repr(error), code)
"""
RUN_NODE = """
import { readFileSync } from 'node:fs';
const AsyncFunction = (async () => {}).constructor;
for (const [name, code] of JSON.parse(readFileSync(0))) {
    const body = code.replace(/^import (\\w+) from ("[^"]+");/m, 'const $1 = (await import($2)).default;');
    try { await new AsyncFunction(body)(); } catch (error) { console.log('FAILED', name, error.message, code); }
}
"""


def test_the_code_of_every_example_runs(operated: Server, operator: Visitor, packages: Path) -> None:
    page = operator.page
    page.goto(f"{operated.url}/#/try")
    expect(page.get_by_role("heading", name="Ask a question")).to_be_visible()
    written = page.evaluate(WRITE_ALL, {"embeddings": "pool", "rerank": "pool", "other": "bare.gguf"})
    assert len(written) > 50
    code = {
        language: [each[1:] for each in written if each[0] == language] for language in ("curl", "python", "javascript")
    }
    environment = {**os.environ, "LOCALAI_API_KEY": ROOT}
    assert ask(operated, say="hi") == 200, "not loaded as its YAML is after another test's edit"

    def run(*command: str, given: str, **where: Any) -> str:
        done = subprocess.run(
            command, input=given, env=environment, capture_output=True, text=True, timeout=100, **where
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    script = "\n".join(f"{text} --fail-with-body -sS || echo FAILED {name}" for name, text in code["curl"])
    assert "FAILED" not in run("bash", given=script)
    assert "FAILED" not in run(sys.executable, "-c", RUN_PYTHON, given=json.dumps(code["python"]))
    node = ("node", "--input-type=module", "-e", RUN_NODE)
    assert "FAILED" not in run(*node, given=json.dumps(code["javascript"]), cwd=packages)


def test_an_example_is_run_by_a_click(operated: Server, browser: Browser) -> None:
    for phone in (False, True):
        with visiting(browser, phone=phone, dark=phone) as visitor:
            page = visitor.page
            page.goto(f"{operated.url}/#/try/stream")
            page.locator("#try-model").select_option("bare.gguf")
            page.get_by_role("tab", name="Python").click()
            code = page.get_by_role("tabpanel", name="Python")
            expect(code).to_contain_text(f'base_url="{operated.url}/v1", api_key=os.environ["LOCALAI_API_KEY"]')
            body = page.get_by_role("textbox", name="Body of the request")
            body.fill(body.input_value().replace("Germany", "Hungary"))
            expect(code).to_contain_text("capital of Hungary")
            body.press("Control+Enter")
            answer = page.get_by_role("region", name="Answer")
            expect(answer).to_contain_text("data: [DONE]")
            expect(answer.get_by_role("status")).to_contain_text("tokens/s")
            page.get_by_role("button", name="Show the prompt").click()
            expect(page.locator(".mark-token", has_text="<|im_start|>").first).to_be_visible()
            assert find_barriers(page) == []
            body.fill("{")
            expect(page.get_by_role("button", name="Run")).to_be_disabled()
            expect(page.get_by_role("alert")).to_contain_text("This is no JSON")
