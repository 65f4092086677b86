"""The store as the rest of the server sees it."""

from __future__ import annotations

from dataclasses import dataclass

from localai_flask.settings import Settings
from localai_flask.store.batches.batches import Batches
from localai_flask.store.batches.leases import BatchLeases
from localai_flask.store.database import Database
from localai_flask.store.files import Files
from localai_flask.store.responses.conversations import Conversations
from localai_flask.store.responses.responses import Responses
from localai_flask.store.responses.runs import Runs
from localai_flask.store.responses.streams import Streams


@dataclass(frozen=True, slots=True)
class Store:
    """All that is stored; one for each process, as connections survive no fork."""

    responses: Responses
    conversations: Conversations
    runs: Runs
    streams: Streams
    files: Files
    batches: Batches
    batch_leases: BatchLeases
    database: Database

    @classmethod
    def open(cls, settings: Settings) -> Store:
        """Open the database, and make it if there is none; raise `ServerConfigError` or `Unavailable`."""
        database = Database(settings)
        return cls(
            Responses(database, settings),
            Conversations(database, settings),
            Runs(database),
            Streams(database, settings),
            Files(database, settings),
            Batches(database, settings),
            BatchLeases(database, settings),
            database,
        )
