"""gunicorn's worker with threads, which refuses what the application never sees in the words of this server."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from gunicorn import util
from gunicorn.workers.gthread import ThreadWorker

from localai_flask.server.web import refusal
from localai_flask.server.web.connection import Connection

log = logging.getLogger("gunicorn.error")


class RefusingWorker(ThreadWorker):  # type: ignore[misc]
    """Sends refusals as far as clients take them at once, counts them and logs them."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        """Answer a request that gunicorn could not read, or that the application could not even refuse."""
        if refusal.is_clients_mistake(exc):
            answer = refusal.refuse_malformed(exc)
            self._note(addr, req, refusal.status_of(exc), refusal.MALFORMED)
        else:
            answer = refusal.admit_mistake(req, exc)
        try:
            util.write_nonblock(client, answer)
        except OSError as error:
            log.debug("the refusal could not be sent: %s", error)

    def _note(self, address: Any, request: Any, status: HTTPStatus, code: str) -> None:
        """Count and log what has been refused, which the application never sees."""
        from localai_flask.api import observation

        client = address[0] if isinstance(address, tuple) else ""
        observation.note_refusal(self.wsgi, client, request.method if request is not None else "", status, code)

    @staticmethod
    def _send(conn: Connection, data: bytes) -> None:
        try:
            conn.sock.send(data)
        except OSError as error:
            log.debug("a client could not be told: %s", error)
