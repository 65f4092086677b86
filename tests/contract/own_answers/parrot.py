"""What the engine of `tests.support.plugin` says: its prompt, in capitals."""

from tests.contract.own_answers.echo import shout as write

__all__ = ["write"]
