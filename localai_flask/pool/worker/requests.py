"""The requests that a worker's engine holds: for whom each of its jobs is, and which belong together."""

from __future__ import annotations

from localai_flask.pool.channel import Channel
from localai_flask.pool.in_hand import InHand

Route = tuple[Channel, int]
"""The channel that a request came over, and its id there."""


class Requests:
    """Both ways between jobs and routes; for the engine thread alone, but for `routes`."""

    def __init__(self, in_hand: InHand):
        self._in_hand = in_hand
        self._routes: dict[int, Route] = {}
        self._jobs: dict[Route, int] = {}
        self._groups: dict[int, int] = {}

    def __len__(self) -> int:
        """How many requests there are; the jobs of a group count as one."""
        return len(self._routes) - len(self._groups) + len(set(self._groups.values()))

    def add(self, job_id: int, route: Route, digest: bytes, group: int | None = None) -> None:
        """Keep a job that the engine has taken; `group` is the id of the first of several that came together."""
        self._routes[job_id] = route
        self._jobs[route] = job_id
        if group is not None:
            self._groups[job_id] = group
        self._in_hand.keep(job_id, digest)

    def route(self, job_id: int) -> Route | None:
        return self._routes.get(job_id)

    def routes(self) -> list[Route]:
        return list(self._routes.values())

    def of_channel(self, channel: Channel) -> list[Route]:
        return [route for route in self._jobs if route[0] is channel]

    def end(self, job_id: int) -> None:
        """Forget a job that has ended."""
        del self._jobs[self._routes.pop(job_id)]
        self._groups.pop(job_id, None)
        self._in_hand.drop(job_id)

    def withdraw(self, route: Route) -> int | None:
        """Forget the job of a route, and return its id; None if it has ended."""
        job_id = self._jobs.get(route)
        if job_id is not None:
            self.end(job_id)
        return job_id
