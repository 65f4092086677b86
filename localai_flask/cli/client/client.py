"""A running server, as the commands see it: JSON, streams of it, and errors that say what to do."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, TypeVar

import msgspec
import requests

from localai_flask.cli.client.shapes import Model, ModelList
from localai_flask.cli.client.target import Target
from localai_flask.cli.client.transport import open_session
from localai_flask.cli.exit_codes import CommandFailed, NoServer, NoSuchThing, Refused, in_commands

CONNECT_S, READ_S = 5.0, 600.0
"""How long to wait for a connection, and for the next piece of an answer: a model may have to be loaded first."""
PROBE_S = 2.0
UNAUTHORIZED, FORBIDDEN, NOT_FOUND = 401, 403, 404

Shape = TypeVar("Shape")


class Client:
    """One server."""

    def __init__(self, target: Target):
        self.target = target
        self._session = open_session(target)

    def is_running(self) -> bool:
        """Return whether anything answers there over HTTP."""
        try:
            self._session.get(f"{self.target.url}/healthz", timeout=PROBE_S).close()
        except requests.RequestException:
            return False
        return True

    def models(self) -> list[Model]:
        """List the models that the key may use."""
        return self.get("/v1/models", ModelList).data

    def get(self, path: str, shape: type[Shape]) -> Shape:
        """GET a path, as one of the shapes."""
        return self.decode(self.call("GET", path).content, shape)

    def call(self, method: str, path: str, body: Any = None) -> requests.Response:
        """Make a request and return its answer, which is no error; raise `CommandFailed` otherwise."""
        return self._checked(self._send(method, path, body, stream=False))

    def stream(self, path: str, body: Any) -> Generator[bytes, None, None]:
        """POST a body and yield the data of each event; closing the iterator ends the request on the server."""
        answer = self._checked(self._send("POST", path, body, stream=True))
        try:
            yield from self._events(answer)
        except requests.RequestException as error:
            raise CommandFailed("The server went away in the middle of its answer; its log may say why.") from error
        finally:
            answer.close()

    def _events(self, answer: requests.Response) -> Iterator[bytes]:
        held = b""
        for piece in answer.iter_content(chunk_size=None):
            *lines, held = (held + piece).split(b"\n")
            for line in lines:
                data = line.removeprefix(b"data:").strip()
                if data == b"[DONE]":
                    return
                if line.startswith(b"data:") and data:
                    _raise_error_event(data)
                    yield data

    def decode(self, content: bytes, shape: type[Shape]) -> Shape:
        """Read an answer; raise `CommandFailed` if another kind of server must have made it."""
        try:
            return msgspec.json.decode(content, type=shape)
        except msgspec.DecodeError as error:
            text = f"What listens at {self.target.shown} does not answer as this server does ({error})"
            raise CommandFailed(f"{text}; name the right one with --url.") from error

    def _send(self, method: str, path: str, body: Any, *, stream: bool) -> requests.Response:
        url, timeout = self.target.url + path, (CONNECT_S, READ_S)
        try:
            return self._session.request(method, url, json=body, timeout=timeout, stream=stream)
        except (requests.ConnectionError, requests.exceptions.InvalidURL) as error:
            raise no_server(self.target) from error
        except requests.RequestException as error:
            raise CommandFailed(f"{self.target.shown} does not answer: {error}.") from error

    def _checked(self, answer: requests.Response) -> requests.Response:
        if answer.ok:
            return answer
        try:
            message = in_commands(_message(answer.content)) or f"the server answered with status {answer.status_code}."
        finally:
            answer.close()
        if answer.status_code == NOT_FOUND:
            raise NoSuchThing(message)
        if answer.status_code in (UNAUTHORIZED, FORBIDDEN):
            raise Refused(message + self._advice(answer.status_code))
        raise CommandFailed(message)

    def _advice(self, status: int) -> str:
        """Return what to do about a key that is missing or wrong; one that lacks a right is another matter."""
        if not self.target.api_key:
            return " Name the key with --api-key or LOCALAI_API_KEY."
        return " Check the key in --api-key, LOCALAI_API_KEY or OPENAI_API_KEY." if status == UNAUTHORIZED else ""


def no_server(target: Target) -> NoServer:
    """Return the error that says that nobody answers, and how to change that."""
    start = "start one with `localai-flask serve`, or name another with --url"
    advice = "check the address" if target.is_given else start
    return NoServer(f"No server answers at {target.shown}; {advice}.")


def _raise_error_event(data: bytes) -> None:
    """Raise the error that a stream reports after it has begun."""
    if data.startswith(b'{"error"') and (message := _message(data)):
        raise CommandFailed(in_commands(message))


def _message(content: bytes) -> str:
    """Return the sentence of an error in OpenAI's or a similar shape; "" if there is none."""
    try:
        error = msgspec.json.decode(content).get("error")
    except (msgspec.DecodeError, AttributeError):
        return ""
    message = error.get("message") if isinstance(error, dict) else error
    return message if isinstance(message, str) else ""
