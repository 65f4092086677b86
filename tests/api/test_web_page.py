"""The page at `/`: for browsers alone, open to all, strict in what it may do, its files kept while the same."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from localai_flask.api.pages import web_files
from localai_flask.app import create_app
from localai_flask.settings import Settings

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
ROOT = Path(__file__).resolve().parents[2]
WEB, FRONTEND = ROOT / "localai_flask" / "web", ROOT / "frontend"
IMPORT = re.compile(r"""(?:from|import)\s*\(?\s*["'](\.[^"']+)["']""")


@pytest.fixture
def client(tmp_path: Path) -> FlaskClient:
    return create_app(Settings(models_path=tmp_path)).test_client()


def addresses(page: str) -> list[str]:
    return re.findall(r'(?:href|src)="([^"]*/web/[^"]+)"', page)


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json, text/plain, */*"])
def test_clients_of_the_api_get_json(client: FlaskClient, accept: str | None) -> None:
    answer = client.get("/", headers={"Accept": accept} if accept else {})
    assert answer.is_json and answer.get_json()["name"] == "localai-flask"
    assert "Accept" in answer.vary


def test_browsers_get_the_page_and_its_files(client: FlaskClient) -> None:
    page = client.get("/", headers=BROWSER)
    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert "Accept" in page.vary and page.headers["Cache-Control"] == "no-cache"
    found = addresses(page.text)
    assert any(address.endswith("app.js") for address in found)
    for address in found:
        answer = client.get(address)
        assert answer.status_code == 200 and "immutable" in answer.headers["Cache-Control"]
    assert client.head("/", headers=BROWSER).status_code == 200


def test_nothing_runs_that_is_not_a_file_of_the_page(client: FlaskClient) -> None:
    page = client.get("/", headers=BROWSER)
    policy = dict(part.split(" ", 1) for part in page.headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == "'none'" and policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["connect-src"] == "'self'" and policy["frame-ancestors"] == "'none'"
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\bon\w+=|https?://", page.text)


def test_below_a_prefix_all_addresses_begin_with_it(client: FlaskClient) -> None:
    page = client.get("/", headers={**BROWSER, "X-Forwarded-Prefix": "/ai"}).text
    assert '<meta name="root" content="/ai">' in page
    assert addresses(page) and all(address.startswith("/ai/web/") for address in addresses(page))


def test_the_page_is_open_and_what_it_asks_is_not(tmp_path: Path) -> None:
    client = create_app(Settings(models_path=tmp_path, api_key=("secret",))).test_client()
    page = client.get("/", headers=BROWSER)
    assert page.status_code == 200
    assert client.get(addresses(page.text)[0]).status_code == 200
    assert client.get("/").status_code == client.get("/v1/models", headers=BROWSER).status_code == 401


def test_switched_off_there_is_no_page(tmp_path: Path) -> None:
    address = addresses(create_app(Settings(models_path=tmp_path)).test_client().get("/", headers=BROWSER).text)[0]
    client = create_app(Settings(models_path=tmp_path, disable_webui=True)).test_client()
    assert client.get("/", headers=BROWSER).is_json
    assert client.get(address).status_code == 404
    closed = create_app(Settings(models_path=tmp_path, disable_webui=True, api_key=("secret",))).test_client()
    assert closed.get("/", headers=BROWSER).status_code == 401


def test_files_come_compressed_and_only_when_they_have_changed(client: FlaskClient) -> None:
    address = f"/web/{web_files.version()}/app.js"
    plain, small = client.get(address), client.get(address, headers={"Accept-Encoding": "gzip"})
    assert small.headers["Content-Encoding"] == "gzip" and gzip.decompress(small.data) == plain.data
    assert "Accept-Encoding" in plain.vary and "Accept-Encoding" in small.vary
    again = client.get(address, headers={"Accept-Encoding": "gzip", "If-None-Match": small.headers["ETag"]})
    assert again.status_code == 304 and not again.data
    assert plain.headers["ETag"] != small.headers["ETag"]


def test_files_of_another_version_are_not_kept(client: FlaskClient) -> None:
    assert client.get("/web/0123456789ab/app.js").headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", ["nothing.js", "../app.py", "%2e%2e/app.py", "lib/../../app.py", "index.html", "lib"])
def test_other_files_are_not_served(client: FlaskClient, name: str) -> None:
    assert client.get(f"/web/{web_files.version()}/{name}").status_code == 404


def test_modules_import_what_is_there() -> None:
    modules = [path for path in WEB.rglob("*.js") if "vendor" not in path.parts]
    missing = [
        f"{module.relative_to(WEB)}: {target}"
        for module in modules
        for target in IMPORT.findall(module.read_text())
        if not (module.parent / target).is_file()
    ]
    assert modules and not missing


def test_bundled_libraries_are_those_of_the_lock_file() -> None:
    built = json.loads((WEB / "vendor" / "built.json").read_text())
    stale = [name for name, digest in built["from"].items() if sha256(FRONTEND / name) != digest]
    stale += [name for name, digest in built["made"].items() if sha256(WEB / "vendor" / name) != digest]
    assert not stale, "run `npm ci && npm run build` in frontend/"
    entries = {f"entries/{path.name}" for path in (FRONTEND / "entries").iterdir()}
    assert entries == {name for name in built["from"] if name.startswith("entries/")}


@pytest.mark.skipif(shutil.which("npm") is None, reason="Node.js is not installed")
def test_bundled_libraries_can_be_made_again(tmp_path: Path) -> None:
    for name in ("package.json", "package-lock.json", "build.mjs"):
        shutil.copy(FRONTEND / name, tmp_path)
    shutil.copytree(FRONTEND / "entries", tmp_path / "entries")
    for command in (["npm", "ci", "--no-audit", "--no-fund"], ["node", "build.mjs", "made"]):
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "made" / "built.json").read_text() == (WEB / "vendor" / "built.json").read_text()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
