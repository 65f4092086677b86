"""A real nginx of a test's own, with the configuration that `deploy/nginx` ships, in a folder of its own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path

from tests.support.processes import children, end, end_group, wait_for
from tests.support.required import need_program

SHIPPED = Path(__file__).resolve().parents[2] / "deploy" / "nginx"
WORKERS = 2
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
MAIN = """\
{user}
daemon off;
worker_processes {workers};
pid {folder}/pid;
error_log {folder}/error.log info;
events {{ worker_connections 512; }}
http {{
    access_log {folder}/access.log;
    {temporary}
    {servers}
}}
"""


class Nginx:
    """A running nginx; a context manager that stops it.

    `servers` is what stands in `http { … }`, where `include localai-flask/…;` means a shipped file. `changes` has for
    files' names the texts to replace in them, each of which has to be there: addresses, and times too long for a test.
    """

    def __init__(self, folder: Path, servers: str, changes: dict[str, dict[str, str]], ports: Iterable[int]):
        self.program = need_program("nginx")
        self.folder = folder
        self.ports = tuple(ports)
        self.process: subprocess.Popen[bytes] | None = None
        (folder / "localai-flask").mkdir(parents=True)
        for file in SHIPPED.glob("*.conf"):
            text = file.read_text()
            for before, after in changes.get(file.name, {}).items():
                assert before in text, f"deploy/nginx/{file.name} has no {before!r}"
                text = text.replace(before, after)
            self.add(file.name, text)
        temporary = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in TEMPORARY)
        user = "user root;" if os.getuid() == 0 else ""  # pytest's folders are closed to others
        (folder / "nginx.conf").write_text(
            MAIN.format(workers=WORKERS, user=user, folder=folder, temporary=temporary, servers=servers)
        )

    def add(self, name: str, text: str) -> None:
        """Write a file that `include localai-flask/…;` finds."""
        (self.folder / "localai-flask" / name).write_text(text)

    @property
    def command(self) -> list[str]:
        return [
            self.program,
            "-p",
            str(self.folder),
            "-e",
            f"{self.folder}/error.log",
            "-c",
            f"{self.folder}/nginx.conf",
        ]

    def check(self) -> str:
        """Return what `nginx -t` says against the configuration: nothing, if it is right."""
        done = subprocess.run([*self.command, "-t", "-q"], capture_output=True, text=True, timeout=30)
        return done.stderr if done.returncode or done.stderr else ""

    def __enter__(self) -> Nginx:
        self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, start_new_session=True)
        try:
            wait_for(
                lambda: self.process.poll() is not None or all(map(is_listening, self.ports)), 10, "nginx is ready"
            )
            assert self.process.poll() is None, self.errors()
        except BaseException:
            end_group(self.process)
            raise
        return self

    def _settled(self) -> bool:
        assert self.process is not None
        return self.process.poll() is not None or all(map(is_listening, self.ports))

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        end(self.process)

    def errors(self) -> str:
        return (self.folder / "error.log").read_text(errors="replace")

    def workers(self) -> list[int]:
        assert self.process is not None
        return children(self.process.pid)

    def reload(self) -> None:
        """Have new workers take the connections; the old ones end their streams first."""
        assert self.process is not None
        before = set(self.workers())
        self.process.send_signal(signal.SIGHUP)
        wait_for(lambda: len(set(self.workers()) - before) == WORKERS, 10, "nginx has new workers")


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
