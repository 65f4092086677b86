"""A child process held by a pidfd, and the heartbeat by which a child shows that it does not hang."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from collections.abc import Iterable, Sequence
from typing import IO, Any

START_S = 60.0
"""How long a process may take to its first sign of life."""


class Child:
    """A process that was started here, or adopted from a parent that is gone.

    Liveness comes from a pidfd: it cannot take a recycled pid for the process, works for adopted ones, and still shows
    the end of a child that gunicorn's arbiter, which reaps all its children, has reaped first.
    """

    def __init__(self, pid: int, popen: subprocess.Popen[bytes] | None = None):
        self.pid = pid
        self._popen = popen
        self._pidfd: int | None = None
        try:
            self._pidfd = os.pidfd_open(pid)
        except ProcessLookupError:
            pass  # it has ended, and somebody has reaped it

    @property
    def has_ended(self) -> bool:
        return self.wait(0)

    @property
    def exit_status(self) -> int | None:
        """Exit code, or minus the signal's number; None if the process runs, or was started by another."""
        return self._popen.returncode if self._popen is not None else None

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end, reap the process if it is our child, and return whether it has ended."""
        if self._pidfd is not None and not wait_readable([self._pidfd], timeout_s):
            return False
        if self._popen is not None:
            self._popen.poll()
        return True

    def send(self, number: signal.Signals) -> None:
        if self._pidfd is None:
            return
        try:
            signal.pidfd_send_signal(self._pidfd, number)
        except ProcessLookupError:
            pass  # it ended meanwhile

    def end(self, number: signal.Signals, grace_s: float) -> bool:
        """Send a signal, and return whether the process ended in time."""
        self.send(number)
        return self.wait(grace_s)

    def close(self) -> None:
        """Release the descriptors of an ended process."""
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


def wait_readable(descriptors: Iterable[int], timeout_s: float) -> list[int]:
    """Wait until a descriptor can be read, and return those that can; unlike `select.select` also above 1,023."""
    poll = select.poll()
    for descriptor in descriptors:
        poll.register(descriptor, select.POLLIN)
    return [descriptor for descriptor, _ in poll.poll(max(0.0, timeout_s) * 1000)]


def popen(
    command: Sequence[str],
    *,
    environment: dict[str, str] | None = None,
    stdin: int | IO[Any] = subprocess.DEVNULL,
    output: IO[Any] | None = None,
    pass_fds: Sequence[int] = (),
) -> subprocess.Popen[bytes]:
    """Start a fresh interpreter or program, never a fork: engines with CUDA or threads do not survive one."""
    return subprocess.Popen(
        command,
        env=environment,
        stdin=stdin,
        stdout=output,
        stderr=output,
        pass_fds=pass_fds,
        start_new_session=True,  # a Ctrl-C in the terminal is the arbiter's to handle
    )


class WatchedChild(Child):
    """A child that is told the descriptor of a pipe as its last argument, and writes to it as a sign of life."""

    def __init__(self, command: Sequence[str], environment: dict[str, str]):
        self._pulse, pulse = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            child = popen([*command, str(pulse)], environment=environment, pass_fds=[pulse])
        except OSError:
            os.close(self._pulse)
            raise
        finally:
            os.close(pulse)
        super().__init__(child.pid, child)

    def outlives(self, silence_s: float) -> bool:
        """Wait for the end, and return True; return False if the process gives no sign of life for that long.

        The first one may take longer, as a busy machine starts a process as slowly every time.
        """
        watched = [] if self._pidfd is None else [self._pulse, self._pidfd]
        patience_s = max(silence_s, START_S)
        while watched:
            ready = wait_readable(watched, patience_s)
            if not ready:
                return False
            patience_s = silence_s
            if self._pidfd in ready:
                break
            if not os.read(self._pulse, 4096):
                watched.remove(self._pulse)  # all its ends are closed, so the process is ending
        return self.wait(0)

    def close(self) -> None:
        super().close()
        os.close(self._pulse)


def beat(pulse: int) -> None:
    """Send the sign of life that `WatchedChild.outlives` waits for."""
    try:
        os.write(pulse, b"\0")
    except (BlockingIOError, BrokenPipeError):
        pass  # nobody reads: the arbiter is busy, or gone, and its pidfd says so
