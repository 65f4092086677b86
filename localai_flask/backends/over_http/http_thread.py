"""HTTP in a thread of its own, so that no engine's thread ever waits for an answer: one event loop, one client.

Knows addresses, JSON and server-sent events; not what is in them.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

import httpx2
import msgspec

logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line for each request says nothing to an operator

T = TypeVar("T")
CONNECT_S = 10.0
MOST_ERROR_BYTES = 64 << 10
"""How much of an error page is read, and kept."""
MOST_LINE_BYTES = 4 << 20
"""How long a line of a stream may be: an event is a token or a few, and what is held is searched with each piece."""
END = b"[DONE]"


class Refused(Exception):
    """An answer that is none of success: its status, and what its body says."""

    def __init__(self, status: int, body: bytes, retry_after: str = ""):
        super().__init__(f"HTTP {status}")
        self.status = status
        self.retry_after = float(retry_after) if retry_after.isdecimal() else None
        self.details = _details(body)

    @property
    def said(self) -> str:
        """What is wrong, in the server's own words."""
        return str(self.details.get("message") or self)


class HttpThread(threading.Thread):
    """Runs requests side by side against one server; all methods may be called from any thread."""

    def __init__(self, base_url: str, headers: Mapping[str, str], *, read_s: float | None, trust_env: bool = False):
        """`read_s` is how long an answer may be silent; proxies of the environment count with `trust_env`."""
        super().__init__(name="http", daemon=True)
        self._loop = asyncio.new_event_loop()
        timeout = httpx2.Timeout(read_s, connect=CONNECT_S, pool=None)
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=16)
        self._client = httpx2.AsyncClient(
            base_url=base_url, headers=dict(headers), timeout=timeout, limits=limits, trust_env=trust_env
        )
        self.start()

    def run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start a coroutine; cancelling its future hangs up."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the JSON of an answer; raise `Refused` or `httpx2.HTTPError`."""
        answer = await self._client.request(method, path, content=None if body is None else msgspec.json.encode(body))
        if answer.status_code >= 300:
            raise _refused(answer, answer.content)
        return msgspec.json.decode(answer.content)

    async def stream(self, path: str, body: Any, take: Callable[[Any], None]) -> None:
        """Hand each event of an answer to `take`; raise what `ask` raises, also for an event that is an error."""
        content = msgspec.json.encode(body)
        async with self._client.stream("POST", path, content=content) as answer:
            if answer.status_code >= 300:
                raise _refused(answer, await _beginning(answer))
            async for line in _lines(answer):
                name, _, data = line.partition(b":")
                if name not in (b"data", b"error") or (data := data.strip()) == END:
                    continue
                event = msgspec.json.decode(data)
                if name == b"error" or (isinstance(event, dict) and event.get("error")):
                    raise Refused(_status(_details(data)), data)
                take(event)

    def stop(self) -> None:
        """Hang up everywhere and end the thread."""
        self.begin(self._close()).result(timeout=CONNECT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self.join(CONNECT_S)

    async def _close(self) -> None:
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.aclose()


def _refused(answer: httpx2.Response, body: bytes) -> Refused:
    return Refused(answer.status_code, body[:MOST_ERROR_BYTES], answer.headers.get("retry-after", ""))


async def _beginning(answer: httpx2.Response) -> bytes:
    """Return the first bytes of an error page, however long it is."""
    body = bytearray()
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) >= MOST_ERROR_BYTES:
            break
    return bytes(body)


async def _lines(answer: httpx2.Response) -> AsyncIterator[bytes]:
    """Yield the lines of a stream; the library's own also end at U+2028 and the like, which JSON may hold as it is."""
    held = b""
    async for piece in answer.aiter_bytes():
        *lines, held = (held + piece).split(b"\n")
        for line in lines:
            yield line
        if len(held) > MOST_LINE_BYTES:
            raise ValueError(f"a line of more than {MOST_LINE_BYTES:,} bytes")
    yield held


def _status(details: Mapping[str, Any]) -> int:
    """Return the status of an error within a stream, whose code some servers give as a word."""
    code = str(details.get("code"))
    return int(code) if code.isdecimal() else 500


def _details(body: bytes) -> dict[str, Any]:
    """Return the `error` of a body of JSON, or its text as the message."""
    try:
        read = msgspec.json.decode(body)
    except msgspec.DecodeError:
        return {"message": " ".join(body.decode(errors="replace").split())[:300]}
    error = read.get("error", read) if isinstance(read, dict) else read
    return error if isinstance(error, dict) else {"message": str(error)}
