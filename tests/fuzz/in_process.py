"""The application in this process, with an engine that follows a script."""

from __future__ import annotations

import logging
import os
import traceback
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from flask import Flask
from werkzeug.test import create_environ, run_wsgi_app

from localai_flask.api.answer.sse import PING
from localai_flask.app import create_app
from localai_flask.errors import Overloaded, WorkerDied
from localai_flask.generation import FinishReason
from localai_flask.pool.protocol import PoolReport
from localai_flask.settings import Settings
from tests.api.fakes import FakePool, Step, says
from tests.fuzz import wire
from tests.fuzz.stage import Answer, has_no_end, may_wait
from tests.support.mutated_requests import Request
from tests.support.processes import resident_bytes

ABLE = frozenset({"generate", "constrain", "embed", "score", "tokenize", "infill", "end_thinking"})
MODELS = ("tiny", "other")
SAID = [
    *("ok", "", "<think>hm</think>ok", "<think>hm", "</think>", '{"place":"a"}', "\U0001f600 \u2603 ", "END\nmore"),
    '<tool_call>\n{"name": "look", "arguments": {"place": "a"}}\n</tool_call>',
    '<tool_call>\n{"name": "look", "arguments": {"place"',
    '{"name": "look", "arguments": {"place": "b"}}',
    '[{"name": "nothing", "arguments": 5}]',
]


class Scripts(list[list[Step]]):
    """An engine that says one thing or another, and at times dies."""

    def __init__(self, random: Random):
        super().__init__()
        self._random = random

    def pop(self, *_: Any) -> list[Step]:
        random, text = self._random, self._random.choice(SAID)
        cut = random.randrange(len(text) + 1)
        script = says(*filter(None, (text[:cut], text[cut:])), reason=random.choice(list(FinishReason)))
        if random.random() < 0.03:
            broken = random.choice((Overloaded("busy", retry_after=1.0), WorkerDied("gone")))
            return [*script[: random.randrange(len(script))], broken]
        return script


class InProcess:
    """Two applications on one scripted pool and one store: one for everybody, and one that wants a key."""

    def __init__(self, folder: Path, random: Random):
        """The environment must name a runtime directory, as for a server."""
        self._folder = folder / "models"
        self._folder.mkdir()
        self._put_models()
        self._random = random
        self._pool = _scripted_pool(random)
        settings: dict[str, Any] = {
            "models_path": self._folder,
            "offline": True,
            "galleries": wire.BUILTIN,
            "database_url": f"sqlite:///{folder}/responses.db",
            "default_model": "tiny",
            "access_log": "off",
        }
        free = create_app(Settings(**settings), pool=self._pool)
        self._apps = (free, free, create_app(Settings(**settings, api_key=(wire.KEY,)), pool=self._pool))
        self._log = _Mistakes()
        logging.getLogger("gunicorn.error").addHandler(self._log)

    def ask(self, request: Request) -> Answer:
        self._log.last = ""
        self._put_models()
        return _ask(self._random.choice(self._apps), request)

    def _put_models(self) -> None:
        """Write the models that are not there, or no longer: requests may delete some."""
        for name in MODELS:
            file = self._folder / f"{name}.yaml"
            if not file.exists():
                file.write_text(f"name: {name}\nbackend: echo\n")

    def faults(self) -> Iterator[str]:
        """Yield what is wrong beside the last answer."""
        if self._log.last:
            yield self._log.last
        if self._pool.open:
            self._pool.open = 0
            yield "a generation was not closed"
        pool = self._pool
        for kept in (pool.requests, pool.questions, pool.configs, pool.terms, pool.kept):
            kept.clear()

    def held_bytes(self) -> int:
        return resident_bytes(os.getpid())

    def close(self) -> None:
        logging.getLogger("gunicorn.error").removeHandler(self._log)


def _scripted_pool(random: Random) -> FakePool:
    pool = FakePool()
    pool.scripts = Scripts(random)
    pool.info = msgspec.structs.replace(pool.info, capabilities=ABLE)
    pool.reports = [PoolReport(models=[], backends=["echo"], memory_budget=None, max_models=0)]
    return pool


class _Mistakes(logging.Handler):
    """Keeps where the last exception came from that the server did not expect."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self.last = _place(record.exc_info[1])


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "localai_flask" in frame.filename] or list(frames)
    where = f"{Path(ours[-1].filename).name}:{ours[-1].lineno}" if ours else "nowhere"
    return f"{type(error).__name__} at {where}: {str(error)[:80]}"


def _ask(app: Flask, request: Request) -> Answer:
    """Return status, kind and body of an answer; of one that only waits, what came until it said so."""
    path, _, query = request.path.partition("?")
    sent = {name: value.encode("utf-8", "replace").decode("latin-1") for name, value in request.headers.items()}
    environ = create_environ("/", method=request.method, data=request.body or None, headers=sent)
    environ["PATH_INFO"] = unquote_to_bytes(path).decode("latin-1")
    environ["QUERY_STRING"], environ["RAW_URI"] = query.encode("utf-8", "replace").decode("latin-1"), path
    body, status, headers = run_wsgi_app(app, environ, buffered=False)
    answer = bytearray()
    try:
        for piece in body:
            answer += piece
            if has_no_end(path) or (PING in piece and may_wait(path)):
                break
    finally:
        if (close := getattr(body, "close", None)) is not None:
            close()
    return Answer(int(status[:3]), headers.get("Content-Type", "").partition(";")[0], bytes(answer))
