"""What stands in front of the engine: who is let in, who waits, who starts next, and whose time is over.

Owns the limits, the deadlines and the lines; knows neither how the engine computes nor how answers travel. For the
engine thread alone.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable

from localai_flask.backends.base import Backend, Event, Inquiry, Job
from localai_flask.config.blocks import Limits
from localai_flask.errors import Overloaded, QueueFull
from localai_flask.generation import Failed
from localai_flask.pool.channel import Channel
from localai_flask.pool.in_hand import InHand
from localai_flask.pool.messages import NOT_LAST, Answer, Queued, Taken
from localai_flask.pool.worker.requests.line import Line
from localai_flask.pool.worker.requests.request_trace import RequestTrace
from localai_flask.pool.worker.requests.requests import Request, Requests, own_error, too_late
from localai_flask.pool.worker.requests.text_gatherer import TextGatherer

Publish = Callable[[Channel, list[tuple[int, Answer]]], None]

LOOK_AHEAD = 64
"""How far down the line the engine is asked whether it would start somebody now."""
PLACES_S = 0.5
"""How often those who wait and want to know are told of their place in the line."""
LONGEST_RETRY_S = 600.0
"""An estimate beyond this says no more than that it will take long."""


class Front:
    """Takes requests in, starts them when the engine has room, and hands out what becomes of them."""

    def __init__(
        self,
        name: str,
        queue_size: Callable[[], int],
        publish: Publish,
        in_hand: InHand,
        stream_interval_s: Callable[[], float] = lambda: 0.0,
    ):
        self.name = name
        self._queue_size = queue_size
        self._publish = publish
        self._in_hand = in_hand
        self._requests = Requests()
        self._jobs, self._inquiries = Line(), Line()
        self._texts = TextGatherer(stream_interval_s)
        self._first_deadline = float("inf")
        self._unanswered: list[Request] = []
        """Those that have come since the last step and wait."""
        self._told_places = 0.0
        self._unready = 0

    def __len__(self) -> int:
        """How many requests there are."""
        return len(self._requests)

    @property
    def has_waiting(self) -> bool:
        """Whether somebody waits whom the engine could start."""
        return len(self._jobs) + len(self._inquiries) > self._unready

    @property
    def text_patience_s(self) -> float | None:
        """For how long the text that was held back may be held; None if there is none."""
        return self._texts.patience_s()

    @property
    def has_unready(self) -> bool:
        """Whether somebody waits until the engine has looked at it."""
        return self._unready > 0

    @property
    def counts(self) -> tuple[int, int]:
        """How many requests run and how many wait, where those that came together count as one."""
        running, waiting = self._jobs.running, len(self._jobs)
        if groups := len(self._requests) - running - waiting:
            begun = {each.group for each in self._requests if each.has_started and isinstance(each.work, Inquiry)}
            running, waiting = running + len(begun), waiting + groups - len(begun)
        return running, waiting

    # Requests come.

    def check_limit(self, limits: Limits) -> None:
        """Raise `Overloaded` if the model takes no more requests at once (`limits.max_concurrent`)."""
        most = limits.max_concurrent
        if most and len(self._requests) >= most:
            raise Overloaded(
                f"Model {self.name} takes {most} requests at once, and has them; try again.",
                retry_after=_retry_after(limits, self._jobs, most),
            )

    def check_room(self, limits: Limits, room: int) -> None:
        """Raise `Overloaded` if as many jobs wait as may, beside those for which the engine has room."""
        if len(self._jobs) >= self._queue_size() + max(room, 0):
            raise self._queue_full(limits, self._jobs, self._jobs.running)

    def check_inquiry_room(self, limits: Limits) -> None:
        """Raise `Overloaded` if as many groups of inquiries wait as may, beside the one that is computed."""
        groups = len(self._requests) - self._jobs.running - len(self._jobs)
        if groups > self._queue_size():
            raise self._queue_full(limits, self._inquiries, 1)

    def _queue_full(self, limits: Limits, line: Line, places: int) -> QueueFull:
        return QueueFull(self._queue_size(), _retry_after(limits, line, places))

    def add(self, request: Request) -> None:
        """Let a request wait that the engine has looked at, or looks at still."""
        self._requests.add(request)
        if not request.is_ready:
            self._unready += 1
            self._in_hand.keep(request.id, request.mark)
        terms = request.terms
        if terms.trace:
            request.trace = RequestTrace(terms.trace, self.name, request.arrived)
        self._line_of(request).add(request.id, terms.caller, (int(terms.is_background), terms.priority))
        self._first_deadline = min(self._first_deadline, request.deadline)
        self._unanswered.append(request)

    def holds(self, request: Request) -> bool:
        """Return whether a request still waits or runs."""
        return self._requests.find(request.id) is request

    def make_ready(self, request: Request) -> None:
        """Note that the engine has looked at a request that waits."""
        self._unready -= not request.is_ready
        request.is_ready = True
        self._in_hand.drop(request.id)

    def _line_of(self, request: Request) -> Line:
        return self._jobs if isinstance(request.work, Job) else self._inquiries

    # They start.

    def start(self, backend: Backend) -> None:
        """Have the engine begin with those next in line, as far as it has room."""
        if len(self._jobs) and backend.room > 0:
            for id in self._jobs.first(LOOK_AHEAD):
                if backend.room <= 0:
                    break
                self._start_job(id, backend)
        if len(self._inquiries) and (room := backend.inquiry_room) > 0:
            for id in self._inquiries.first(room + self._unready):
                if backend.inquiry_room <= 0:
                    break
                self._start_inquiry(id, backend)

    def _start_inquiry(self, id: int, backend: Backend) -> None:
        request = self._requests.find(id)
        assert request is not None and isinstance(request.work, Inquiry)
        if not request.is_ready:
            return
        self._begin(id, self._inquiries)
        try:
            backend.start_inquiry(request.work)
        except Exception as error:
            self._fail_at_start(request, error, backend)

    def _start_job(self, id: int, backend: Backend) -> None:
        request = self._requests.find(id)
        assert request is not None and isinstance(request.work, Job)
        if not request.is_ready:
            return
        self._in_hand.begin(request.mark)
        try:
            has_begun = backend.start(request.work)
        except Exception as error:
            self._fail_at_start(request, error, backend)
            return
        if not has_begun:
            self._in_hand.drop()
            return
        self._begin(id, self._jobs)
        if request.is_told_to_wait:  # from here on it may be why its worker dies
            self._publish(request.route[0], [(request.route[1], Taken())])

    def _fail_at_start(self, request: Request, error: Exception, backend: Backend) -> None:
        """End the one request that the engine could not begin with; what it has begun of it is forgotten."""
        self._in_hand.drop()
        self._requests.begin(request)
        failed = Failed(own_error(error, self.name).info)
        self.cancel(request, backend)
        self._publish(request.route[0], [(request.route[1], failed)])

    def _begin(self, id: int, line: Line) -> Request:
        request = self._requests.find(id)
        assert request is not None
        self._requests.begin(request)
        if request.trace is not None:
            request.trace.begin()
        line.begin(id)
        self._in_hand.keep(id, request.mark)
        return request

    def tell_waiting(self) -> None:
        """Inform those that have waited for a whole step that another worker may have them, and, asked, their place."""
        told: defaultdict[Channel, list[tuple[int, Answer]]] = defaultdict(list)
        for request in self._unanswered:
            if not request.has_started and self._requests.find(request.id) is request:
                request.is_told_to_wait = True
                told[request.route[0]].append((request.route[1], Queued()))
        self._unanswered.clear()
        now = time.monotonic()
        if now - self._told_places >= PLACES_S:
            self._told_places = now
            self._tell_places(told)
        for channel, answers in told.items():
            self._publish(channel, answers)

    def _tell_places(self, told: defaultdict[Channel, list[tuple[int, Answer]]]) -> None:
        if not any(each.terms.tells_place and each.id in self._jobs for each in self._requests):
            return
        for place, id in enumerate(self._jobs.order(), 1):
            request = self._requests.find(id)
            assert request is not None
            if request.terms.tells_place and request.place != place:
                request.place = place
                told[request.route[0]].append((request.route[1], Queued(place)))

    # They end.

    def hand_out(self, events: list[Event], *, everything: bool = False) -> None:
        """Send what the engine has said to those whom it is for, and text that was held back for a while, or all."""
        now = time.monotonic()
        batches: defaultdict[Channel, list[tuple[int, Answer]]] = defaultdict(list)
        for id, reply in events:
            request = self._requests.find(id)
            if request is None:
                continue
            if request.trace is not None:
                request.trace.note(reply)
            if not isinstance(reply, NOT_LAST):
                self._forget(request, is_usual=not isinstance(reply, Failed))
            channel, request_id = request.route
            if answers := self._texts.take(request, reply, now):  # text that is held wakes nobody
                batches[channel] += [(request_id, answer) for answer in answers]
        for request, text in self._texts.let_go_of_old(now, everything=everything):
            batches[request.route[0]].append((request.route[1], text))
        for channel, batch in batches.items():
            self._publish(channel, batch)

    def expire(self, backend: Backend) -> None:
        """End the requests whose time is over, with an error that says how far they had come."""
        now = time.monotonic()
        if now < self._first_deadline:
            return
        late = [request for request in self._requests if request.deadline <= now]
        begun = {request.id: self._requests.has_begun_group(request) for request in late}
        for request in late:
            answers = self._texts.take(request, Failed(too_late(request, begun[request.id]).info), now)
            self.cancel(request, backend)
            self._publish(request.route[0], [(request.route[1], answer) for answer in answers])
        self._first_deadline = min((request.deadline for request in self._requests), default=float("inf"))

    def cancel(self, request: Request, backend: Backend) -> None:
        """Forget a request whatever its stage."""
        self._texts.forget(request)
        self._forget(request, is_usual=False)
        if request.has_started:
            backend.cancel(request.id)

    def cancel_at(self, channel: Channel, request_id: int, backend: Backend) -> bool:
        """Forget what came over a channel under an id; return whether there was something."""
        request = self.find_at(channel, request_id)
        if request is not None:
            self.cancel(request, backend)
        return request is not None

    def find_at(self, channel: Channel, request_id: int) -> Request | None:
        """Return what came over a channel under an id, unless it has ended."""
        return self._requests.at((channel, request_id))

    def cancel_all(self, channel: Channel, backend: Backend) -> None:
        """Forget everything that came over a channel."""
        for request in self._requests:
            if request.route[0] is channel:
                self.cancel(request, backend)

    def routes(self) -> list[tuple[Channel, int]]:
        """Return where all requests came from; from any thread."""
        return self._requests.routes()

    def _forget(self, request: Request, *, is_usual: bool) -> None:
        line = self._line_of(request)
        if not request.is_ready:
            self.make_ready(request)
        line.remove(request.id)
        line.end(request.id, is_usual=is_usual)
        self._requests.remove(request)
        if isinstance(request.work, Job):
            request.work.is_over = True
        self._in_hand.drop(request.id)
        if request.trace is not None:
            request.trace.end()


def _retry_after(limits: Limits, line: Line, places: int) -> float:
    return max(limits.retry_after_seconds, min(line.seconds_to_room(places), LONGEST_RETRY_S))
