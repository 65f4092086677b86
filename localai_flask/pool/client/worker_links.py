"""The channels from one web worker to model workers, and the thread that reads them all."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterable
from itertools import count

import msgspec

from localai_flask.errors import Overloaded, WorkerDied
from localai_flask.generation import Failed
from localai_flask.pool import messages
from localai_flask.pool.channel import Channel, ChannelFull, ChannelGone, Hub, HubEventKind
from localai_flask.pool.client.inbox import Inbox
from localai_flask.pool.messages import Answer, Cancel, Command, EndThinking, Message
from localai_flask.pool.outbox import Outbox
from localai_flask.pool.protocol import WorkerAddress, WorkerLoad

log = logging.getLogger("gunicorn.error")

CONNECT_S = 1.0
"""How long a worker may take to accept a connection, before it counts as gone."""


class WorkerLink:
    """One channel and the requests that run over it; a request's answers go to its inbox with its tag."""

    def __init__(self, worker: WorkerAddress, channel: Channel, hub: Hub):
        self.worker = worker
        self.channel = channel
        self.outbox = Outbox(channel, hub)
        self._ids = count(1)
        self._inboxes: dict[int, tuple[Inbox, int]] = {}
        self._told: WorkerLoad | None = None
        self._then = 0
        """How many requests this process had there when it heard that."""

    @property
    def outstanding(self) -> int:
        return len(self._inboxes)

    def load(self, told: WorkerLoad) -> int:
        """Return how many requests the worker has: as it told last, and what was sent and has ended here since."""
        if told != self._told:
            self._told, self._then = told, self.outstanding
        return max(told.running + told.waiting + self.outstanding - self._then, self.outstanding)

    def send(self, command: Command, inbox: Inbox, tag: int) -> int:
        """Send a command whose answers go to `inbox` as (tag, answer); return its request id.

        If the worker has died, the answer is a `Failed`. Raises `Overloaded` if it has not read for long.
        """
        return self.send_all([(tag, command)], inbox)[0]

    def send_all(self, commands: Iterable[tuple[int, Command]], inbox: Inbox) -> list[int]:
        """Send commands, each with its tag, in one frame, whose answers go to `inbox`; return their request ids.

        Does and raises what `send` does.
        """
        if self.outbox.is_stuck:
            raise Overloaded("The model's worker is too busy to take another request; try again.")
        batch: list[tuple[int, Message]] = []
        for tag, command in commands:
            request_id = next(self._ids)
            self._inboxes[request_id] = inbox, tag
            batch.append((request_id, command))
        self.outbox.send_together(batch)
        if not self.channel.alive:
            self.fail_all()  # the reading thread may have reported the end before these requests were known
        return [request_id for request_id, _ in batch]

    def cancel_all(self, request_ids: Iterable[int]) -> None:
        """Forget requests, and tell the worker of those that have not finished, in one frame."""
        left = [(request_id, Cancel()) for request_id in request_ids if self._inboxes.pop(request_id, None) is not None]
        if left:
            self.outbox.send(left)

    def end_thinking(self, request_ids: Iterable[int]) -> None:
        """Have the worker end what the models of these requests think, in one frame."""
        self.outbox.send([(request_id, EndThinking()) for request_id in request_ids])

    def deliver(self, request_id: int, answer: Answer) -> None:
        last = not isinstance(answer, messages.NOT_LAST)
        found = self._inboxes.pop(request_id, None) if last else self._inboxes.get(request_id)
        if found is not None:
            found[0].put(found[1], answer)

    def fail_all(self) -> None:
        """End every request of a worker that has gone."""
        error = WorkerDied("The model's worker ended while it ran this request; it is being restarted, so try again.")
        for request_id in list(self._inboxes):
            self.deliver(request_id, Failed(error.info))


class WorkerLinks(threading.Thread):
    """Opens channels on demand and delivers what arrives on them."""

    def __init__(self) -> None:
        super().__init__(name="pool-links", daemon=True)
        self._hub = Hub()
        self._links: dict[str, WorkerLink] = {}
        self._changing = threading.Lock()
        """Held for a moment only: the reader needs it to go on."""
        self._connecting = threading.Lock()

    def to(self, worker: WorkerAddress) -> WorkerLink:
        """Return the link to a worker; raise `ChannelGone` if it cannot be reached."""
        link = self._alive(worker)
        if link is not None:
            return link
        with self._connecting:
            link = self._alive(worker)
            return link if link is not None else self._connect(worker)

    def _alive(self, worker: WorkerAddress) -> WorkerLink | None:
        link = self._links.get(worker.worker_id)
        return link if link is not None and link.channel.alive else None

    def _connect(self, worker: WorkerAddress) -> WorkerLink:
        try:
            link = WorkerLink(worker, Channel.connect(worker.address, timeout=CONNECT_S), self._hub)
        except ChannelFull as error:
            raise ChannelGone(f"The worker {worker.worker_id} takes no connection.") from error
        link.channel.data = link
        self._hub.add(link.channel)
        with self._changing:
            self._links[worker.worker_id] = link
        return link

    def run(self) -> None:
        while True:
            for event in self._hub.recv(timeout=None):
                assert event.channel is not None
                link: WorkerLink = event.channel.data
                if event.kind is HubEventKind.GONE:
                    self._lose(link)
                elif event.kind is HubEventKind.ROOM:
                    link.outbox.flush()
                elif event.kind is HubEventKind.MESSAGE:
                    assert event.payload is not None
                    self._deliver(link, event.payload)

    def _deliver(self, link: WorkerLink, payload: bytes) -> None:
        try:
            answers = messages.decode_answers(payload)
        except msgspec.MsgspecError as error:
            log.error("worker %s sent what cannot be read (%s); hanging up", link.worker.worker_id, error)
            self._hub.drop(link.channel)
            self._lose(link)
            return
        for request_id, answer in answers:
            link.deliver(request_id, answer)

    def _lose(self, link: WorkerLink) -> None:
        with self._changing:
            if self._links.get(link.worker.worker_id) is link:
                del self._links[link.worker.worker_id]
        link.fail_all()
