"""A package such as others write: commands, of which some do not work, and an engine; laid out as pip does it."""

from __future__ import annotations

from pathlib import Path

MODULE = '''
import click
import msgspec

from localai_flask.backends.echo import EchoBackend
from localai_flask.generation import Prompt


class ParrotBackend(EchoBackend):
    """Says everything in capitals."""

    def load(self, config, progress):
        return msgspec.structs.replace(super().load(config, progress), backend="parrot")

    def start(self, job):
        job.prompt = Prompt(bytes(job.prompt_tokens).decode().upper())
        return super().start(job)


@click.command()
@click.argument("name")
def hello(name):
    """Greet somebody."""
    click.echo(f"Hello {name}")


not_a_command = 3
'''
CHECKS = """
from localai_flask.backends.notes import unread_keys


def check(config):
    yield from unread_keys(config, "parrot", {"context_size"})
"""
ENTRY_POINTS = """\
[localai_flask.commands]
hello = greeting:hello
broken = greeting_that_is_not_there:hello
odd = greeting:not_a_command
serve = greeting:hello

[localai_flask.engines]
parrot = greeting:ParrotBackend
echo = greeting_that_is_not_there:Nothing

[localai_flask.engine_checks]
parrot = greeting_checks
"""


def write(folder: Path) -> None:
    """Put the package into a folder of `sys.path`."""
    about = folder / "greeting-1.5.dist-info"
    about.mkdir(parents=True)
    (folder / "greeting.py").write_text(MODULE)
    (folder / "greeting_checks.py").write_text(CHECKS)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: greeting\nVersion: 1.5\n")
    (about / "entry_points.txt").write_text(ENTRY_POINTS)
