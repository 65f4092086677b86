"""Behind a real nginx, with the configuration that `deploy/nginx` ships: streams, bodies, names, TLS and reloads."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from localai_flask.settings import Settings
from tests.support.nginx import SHIPPED, Nginx
from tests.support.processes import wait_for
from tests.support.required import need_program
from tests.support.server import Server, free_port

CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
NAME = "llm.example.org"
SILENCE_S = 2
"""How long nginx waits for the server to say something under the prefix; shipped is an hour."""
UPLOAD_MB = 21


@pytest.fixture(scope="module")
def server(models_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    scratch = tmp_path_factory.mktemp("server")
    with Server(
        models_path,
        scratch,
        LOCALAI_LOAD_TO_MEMORY="echo",
        LOCALAI_UPLOAD_LIMIT=str(UPLOAD_MB),
        LOCALAI_GRACEFUL_TIMEOUT="2",  # no time at all for streams: a reload has to end none
        LOCALAI_ALLOWED_HOSTS=NAME,
    ) as server:
        yield server


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a certificate that this test has made itself."""
    folder = tmp_path_factory.mktemp("certificate")
    made = f"-x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN={NAME} -addext".split()
    files = ["-keyout", folder / "privkey.pem", "-out", folder / "fullchain.pem"]
    command = [need_program("openssl"), "req", *made, f"subjectAltName=DNS:{NAME}", *files]
    subprocess.run(command, check=True, capture_output=True)
    return folder


class Doors:
    """The ways into one nginx, and it itself."""

    def __init__(self, nginx: Nginx, certificate: Path, **ports: int):
        self.nginx = nginx
        self.ports = ports
        """By name: `shipped`, `least`, `prefix`, `tls`."""
        resolve = ["--resolve", f"{NAME}:{ports['tls']}:127.0.0.1", "--cacert", str(certificate / "fullchain.pem")]
        self.ways: dict[str, list[str]] = {
            "shipped": [f"http://127.0.0.1:{ports['shipped']}"],
            "least": [f"http://127.0.0.1:{ports['least']}"],
            "prefix": [f"http://127.0.0.1:{ports['prefix']}/ai"],
            "tls": ["--http2", *resolve, f"https://{NAME}:{ports['tls']}"],
        }
        """What curl needs for each way: options, and the address at the end."""

    def curl(self, way: str, path: str, *options: str) -> list[str]:
        *more, base = self.ways[way]
        return [need_program("curl"), "--silent", "--show-error", "--max-time", "60", *more, *options, base + path]

    def get(self, way: str, path: str, *options: str) -> tuple[dict[str, str], str]:
        """Return the headers of an answer, its status as `status` and its protocol as `protocol`, and its body."""
        done = subprocess.run(self.curl(way, path, "--include", *options), check=True, capture_output=True, text=True)
        head, _, body = done.stdout.replace("\r", "").partition("\n\n")
        first, *lines = head.splitlines()
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        return {**headers, "protocol": first.split()[0], "status": first.split()[1]}, body


@pytest.fixture(scope="module")
def doors(server: Server, certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    ports = {name: free_port() for name in ("shipped", "least", "prefix", "tls", "plain")}

    def listening(port: int) -> str:
        return f"listen 127.0.0.1:{port}"

    changes = {
        "upstream.conf": {"server 127.0.0.1:8080;": f"server 127.0.0.1:{server.port};"},
        "http.conf": {"listen 80": listening(ports["shipped"]), "listen [::]:80;": ""},
        "https.conf": {
            "listen 443": listening(ports["tls"]),
            "listen 80": listening(ports["plain"]),
            "listen [::]:443 ssl http2;": "",
            "listen [::]:80;": "",
            "/etc/letsencrypt/live/llm.example.org": str(certificate),
        },
        "prefix.conf": {"include localai-flask/proxy.conf;": "include localai-flask/impatient.conf;"},
    }
    patient = (SHIPPED / "proxy.conf").read_text()
    impatient = patient.replace("proxy_read_timeout 1h;", f"proxy_read_timeout {SILENCE_S}s;")
    assert impatient != patient
    # The least that one can write speaks HTTP/1.0 to the server, and collects its answers unless they forbid it.
    servers = f"""
        include localai-flask/upstream.conf; include localai-flask/http.conf; include localai-flask/https.conf;
        server {{ {listening(ports["prefix"])}; include localai-flask/prefix.conf; include localai-flask/errors.conf; }}
        server {{ {listening(ports["least"])}; location / {{ proxy_pass http://localai_flask; }} }}
    """
    nginx = Nginx(tmp_path_factory.mktemp("nginx"), servers, changes, ports.values())
    nginx.add("impatient.conf", impatient)
    with nginx:
        yield Doors(nginx, certificate, **ports)


def chat(say: str, *, model: str = "echo", stream: bool = True, **script: Any) -> str:
    """Return the body of a request that has the model say something, as the script says."""
    content = json.dumps({"say": say, **script})
    return json.dumps({"model": model, "stream": stream, "messages": [{"role": "user", "content": content}]})


def post(port: int, body: str | bytes, path: str = CHAT, timeout: float = 60) -> tuple[int, Any]:
    """Send a request through nginx; return the status and the JSON of the answer."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)) as connection:
        connection.request("POST", path, body, JSON)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def stream(command: list[str], body: str) -> list[tuple[float, Any]]:
    """The events that curl receives (None: a comment), each with the seconds after the start in which it came."""
    options = ["--no-buffer", "--json", body]
    begun = time.monotonic()
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as curl:
        assert curl.stdout is not None and curl.stderr is not None
        lines = [(time.monotonic() - begun, line.strip()) for line in iter(curl.stdout.readline, b"")]
        said = curl.stderr.read()
    assert curl.returncode == 0, said
    events = [(at, line.removeprefix(b"data: ")) for at, line in lines if line]
    assert events[-1][1] == b"[DONE]", events
    return [(at, None if line.startswith(b":") else json.loads(line)) for at, line in events[:-1]]


def contents(events: list[tuple[float, Any]]) -> list[tuple[float, str]]:
    deltas = [(at, event["choices"][0]["delta"]) for at, event in events if event is not None]
    return [(at, delta["content"]) for at, delta in deltas if delta.get("content")]


def text(events: list[tuple[float, Any]]) -> str:
    return "".join(part for _, part in contents(events))


# --- streams


@pytest.mark.parametrize("way", ["shipped", "least", "prefix", "tls"])
def test_each_event_is_passed_on_at_once(doors: Doors, way: str) -> None:
    lags = []
    for _ in range(3):  # a busy machine may be late once; a proxy that collects events is late always
        came = contents(stream(doors.curl(way, CHAT), chat("abcdef", prefill_ms=100, pace_ms=100)))
        assert [part for _, part in came] == list("abcdef")
        lags.append(came[0][0] - 0.1)
        if lags[-1] < 0.2:
            assert came[-1][0] - came[0][0] > 0.4
            return
    pytest.fail(f"the first event came {lags} s after its token")


def test_a_long_prefill_outlives_the_patience_of_nginx(doors: Doors) -> None:
    events = stream(doors.curl("prefix", CHAT), chat("late", prefill_ms=1000 * SILENCE_S + 1000))
    assert text(events) == "late"
    assert sum(event is None for _, event in events) >= 3


def test_an_answer_that_nginx_does_not_wait_for_is_an_error_in_json(doors: Doors) -> None:
    body = chat("late", stream=False, prefill_ms=1000 * SILENCE_S + 2000)
    status, answer = post(doors.ports["prefix"], body, "/ai" + CHAT)
    assert (status, answer["type"], answer["error"]["code"]) == (504, "error", "gateway_timeout")


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("stage", [{"prefill_ms": 60_000}, {"pace_ms": 100}], ids=["prefill", "decode"])
def test_a_client_that_leaves_nginx_leaves_the_model(
    server: Server, doors: Doors, streaming: bool, stage: dict[str, Any]
) -> None:
    body = chat("x" * 4000, model="single", stream=streaming, **stage)
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", doors.ports["shipped"], timeout=20)) as leaving:
        leaving.request("POST", CHAT, body, JSON)
        if streaming:
            assert leaving.getresponse().readline()
        else:
            time.sleep(0.5)
    # The model has one slot, and the abandoned answer would hold it for minutes.
    status, _ = server.post(CHAT, json.loads(chat("hi", model="single", stream=False)), timeout=10)
    assert status == 200


# --- bodies


def padded(megabytes: float) -> bytes:
    """Return a request of that size, most of which is a field that nobody reads."""
    request = json.loads(chat("here", stream=False))
    return json.dumps({**request, "padding": "x" * int(megabytes * 2**20)}).encode()


@pytest.mark.parametrize("way", ["shipped", "prefix"])
def test_a_body_of_20_megabytes_arrives_whole(doors: Doors, way: str) -> None:
    path = doors.ways[way][-1].partition(str(doors.ports[way]))[2] + CHAT
    status, answer = post(doors.ports[way], padded(20), path)
    assert (status, answer["choices"][0]["message"]["content"]) == (200, "here")


@pytest.mark.parametrize("way", ["shipped", "prefix"])
def test_a_file_of_30_megabytes_arrives_whole(doors: Doors, way: str) -> None:
    path = doors.ways[way][-1].partition(str(doors.ports[way]))[2] + "/v1/files"
    parts = [f'--B\r\nContent-Disposition: form-data; name="{field}"' for field in ("purpose", "file")]
    form = f'{parts[0]}\r\n\r\nuser_data\r\n{parts[1]}; filename="a"\r\n\r\n{"x" * 30 * 2**20}\r\n--B--\r\n'
    request = urllib.request.Request(
        f"http://127.0.0.1:{doors.ports[way]}{path}",
        form.encode(),
        {"Content-Type": "multipart/form-data; boundary=B", "Host": NAME},
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert json.load(answer)["bytes"] == 30 * 2**20


@pytest.mark.parametrize(
    ("megabytes", "who"), [(UPLOAD_MB + 0.5, "LOCALAI_UPLOAD_LIMIT"), (26, "client_max_body_size")]
)
def test_a_body_that_is_too_large_is_refused_in_json(doors: Doors, megabytes: float, who: str) -> None:
    status, answer = post(doors.ports["shipped"], padded(megabytes))
    assert (status, answer["error"]["code"]) == (413, "request_too_large")
    assert who in answer["error"]["message"]


# --- sockets


def test_over_a_unix_socket(models_path: Path, tmp_path: Path) -> None:
    port = free_port()
    server = Server(models_path, tmp_path, LOCALAI_ADDRESS=f"unix:{tmp_path}/http.sock")
    server.port, server.url = (
        port,
        f"http://127.0.0.1:{port}",
    )  # those of nginx, through which it is asked whether it runs
    changes = {
        "upstream.conf": {"server 127.0.0.1:8080;": f"server unix:{tmp_path}/http.sock;"},
        "http.conf": {"listen 80": f"listen 127.0.0.1:{port}", "listen [::]:80;": ""},
    }
    blocks = "include localai-flask/upstream.conf; include localai-flask/http.conf;"
    with Nginx(tmp_path / "nginx", blocks, changes, [port]), server:
        assert post(port, chat("over there", stream=False))[1]["choices"][0]["message"]["content"] == "over there"
        # A Unix socket has no addresses: that of the client is nginx's word.
        wait_for(lambda: "127.0.0.1 POST" in server.log(), 5, "the client's address in the access log")


@pytest.mark.parametrize("way", ["shipped", "tls"])
def test_headers_of_60_kb_come_through(doors: Doors, way: str) -> None:
    head, _ = doors.get(way, "/version", "--header", "X-Long: " + "x" * 60_000)
    assert head["status"] == "200"


def seconds(text: str) -> int:
    """Read a time as nginx writes it."""
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def test_shipped_times_fit_the_servers() -> None:
    from localai_flask.server import gunicorn_settings

    for file in ("upstream.conf", "several.conf"):
        (idle,) = re.findall(r"keepalive_timeout (\w+);", (SHIPPED / file).read_text())
        assert seconds(idle) < gunicorn_settings.keepalive, "the server would close connections on which nginx sends"
    (silence,) = re.findall(r"proxy_read_timeout (\w+);", (SHIPPED / "proxy.conf").read_text())
    assert seconds(silence) > 90
    for file in ("server.conf", "prefix.conf"):
        sizes = sorted(map(int, re.findall(r"client_max_body_size (\d+)m;", (SHIPPED / file).read_text())))
        assert sizes[0] >= max(20, Settings().upload_limit) and sizes[1] > Settings().file_limit


# --- names


def test_tls_speaks_http_2_and_sends_others_there(doors: Doors) -> None:
    headers, _ = doors.get("tls", "/v1/models")
    assert (headers["protocol"], headers["status"]) == ("HTTP/2", "200")
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", doors.ports["plain"], timeout=20)) as plain:
        plain.request("POST", CHAT, "{}", {**JSON, "Host": NAME})
        answer = plain.getresponse()
        assert (answer.status, answer.headers["Location"]) == (308, f"https://{NAME}{CHAT}")


def test_under_a_prefix_links_lead_back_there(doors: Doors) -> None:
    _, index = doors.get("prefix", "/")
    for path in json.loads(index)["links"].values():
        assert path.startswith("/ai/")
        assert doors.get("prefix", path.removeprefix("/ai"))[0]["status"] == "200"
    _, page = doors.get("prefix", "/swagger/")
    for path in re.findall(r'"(/[^"\s]+)"', page):
        assert doors.get("prefix", path.removeprefix("/ai"))[0]["status"] == "200", path


def test_clients_write_no_prefix_past_nginx(doors: Doors) -> None:
    _, index = doors.get("shipped", "/", "--header", "X-Forwarded-Prefix: /evil")
    assert json.loads(index)["links"]["models"] == "/v1/models"


# --- reloads


class Load:
    """Streams and short requests through nginx, one after the other, until told to stop; keeps what went wrong."""

    def __init__(self, port: int):
        self.port = port
        self.faults: list[str] = []
        self.done = {"stream": 0, "short": 0}
        self._stopping = threading.Event()
        kinds: list[Callable[[http.client.HTTPConnection], None]] = [self._stream] * 4 + [self._ask] * 4
        self._threads = [threading.Thread(target=self._keep_on, args=(kind,)) for kind in kinds]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads), "a client still waits"

    def _keep_on(self, work: Callable[[http.client.HTTPConnection], None]) -> None:
        while not self._stopping.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
            try:
                work(connection)
            except Exception as error:  # whatever it is, the test shows it
                self.faults.append(repr(error))
            finally:
                connection.close()

    def _stream(self, connection: http.client.HTTPConnection) -> None:
        connection.request("POST", CHAT, chat("abcdefgh" * 2, pace_ms=200), JSON)
        answer = connection.getresponse()
        received = answer.read()
        parts = [json.loads(line[6:]) for line in received.splitlines() if line.startswith(b"data: {")]
        said = "".join(choice["delta"].get("content") or "" for part in parts for choice in part.get("choices", ()))
        if (answer.status, said, received[-14:]) != (200, "abcdefgh" * 2, b"data: [DONE]\n\n"):
            self.faults.append(f"{answer.status} {received[-300:]!r}")
        self.done["stream"] += 1

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        connection.request("POST", CHAT, chat("abc", stream=False), JSON)
        answer = connection.getresponse()
        received = answer.read()
        if answer.status != 200 or json.loads(received)["choices"][0]["message"]["content"] != "abc":
            self.faults.append(f"{answer.status} {received[-300:]!r}")
        self.done["short"] += 1


def renew_web_workers(server: Server) -> None:
    assert server.process is not None
    before = set(server.web_workers())
    server.process.send_signal(signal.SIGHUP)
    wait_for(lambda: len(set(server.web_workers()) - before) == 2, 20, "new web workers")


def test_reloads_break_no_answer(server: Server, doors: Doors) -> None:
    with Load(doors.ports["shipped"]) as load:
        for _ in range(3):
            renew_web_workers(server)
            doors.nginx.reload()
            time.sleep(1.5)
    assert load.faults == []
    assert load.done["stream"] >= 8 and load.done["short"] > 20
