"""The tables. Times are Unix times as the writing machine has them; JSON is stored as the bytes that were sent."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    true,
)

metadata = MetaData()

responses = Table(
    "responses",
    metadata,
    Column("id", String(96), primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("used_at", Double, nullable=False, index=True),
    Column("status", String(16), nullable=False, index=True),
    Column("previous_id", String(96)),
    Column("background", Boolean, nullable=False),
    Column("body", LargeBinary, nullable=False),  # the response without its output
    Column("size", BigInteger, nullable=False),
    Column("keeper", String(64), nullable=False, server_default=""),  # who may have it: a digest of their key
    Column("conversation_id", String(96)),  # to which it adds its turn
    Column("kind", String(16), nullable=False, server_default="response"),  # or "chat", for a row of `streams`
    # What follows concerns background runs only.
    Column("request", LargeBinary),
    Column("home", String(255)),  # the server that took the request
    Column("owner", String(255)),  # the process that runs it
    Column("lease_until", Double),
    Column("attempts", Integer, nullable=False, default=0),
    Column("cancelled", Boolean, nullable=False, default=False),
    Column("next_sequence", Integer, nullable=False, default=0),
    Column("begun", Boolean, nullable=False, default=False),  # a client may have seen part of its output
)

items = Table(
    "response_items",
    metadata,
    Column("response_id", String(96), primary_key=True),
    Column("is_output", Boolean, primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("id", String(255), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Index("response_items_by_id", "id"),
)

streams = Table(
    "streams",
    metadata,
    Column("keeper", String(64), primary_key=True),
    Column("conversation_id", String(255), primary_key=True),  # the client's to choose
    Column("run_id", String(96), nullable=False, index=True),  # among the responses
)

conversations = Table(
    "conversations",
    metadata,
    Column("id", String(96), primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("used_at", Double, nullable=False, index=True),
    Column("metadata", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("keeper", String(64), nullable=False),
    Column("next_position", Integer, nullable=False, default=0),
    Column("holder", String(96)),  # the response that is being made on it
    Column("held_until", Double),
)

conversation_items = Table(
    "conversation_items",
    metadata,
    Column("conversation_id", String(96), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("id", String(255), nullable=False),
    Column("body", LargeBinary, nullable=False),
)

files = Table(
    "files",
    metadata,
    Column("id", String(96), primary_key=True),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, index=True),
    Column("name", String(255), nullable=False),
    Column("purpose", String(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("keeper", String(64), nullable=False),
    Column("is_whole", Boolean, nullable=False, server_default=true()),
)

file_pieces = Table(
    "file_pieces",
    metadata,
    Column("file_id", String(96), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("data", LargeBinary, nullable=False),
)

batches = Table(
    "batches",
    metadata,
    Column("id", String(96), primary_key=True),
    Column("kind", String(16), nullable=False),  # the API family that it was asked for in
    Column("keeper", String(64), nullable=False),
    Column("endpoint", String(64), nullable=False),
    Column("input_file_id", String(96)),
    Column("metadata", LargeBinary, nullable=False),
    Column("output_lives_s", Integer),
    Column("created_at", Double, nullable=False),
    Column("expires_at", Double, nullable=False),
    Column("status", String(16), nullable=False, index=True),
    Column("moments", LargeBinary, nullable=False),  # when it came to be in each status
    Column("errors", LargeBinary),  # why it has failed as a whole
    Column("output_file_id", String(96)),
    Column("error_file_id", String(96)),
    Column("cancelled", Boolean, nullable=False, default=False),
    Column("owner", String(255)),  # the process that works on it
    Column("lease_until", Double),
    Column("size", BigInteger, nullable=False, server_default="0"),  # what its lines take
    Column("usage", LargeBinary),  # what its answers took
    Column("counts", LargeBinary),  # what has become of its lines, which are deleted then
)

batch_lines = Table(
    "batch_lines",
    metadata,
    Column("batch_id", String(96), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("custom_id", Text, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("outcome", String(16), nullable=False),  # "waiting" until there is one
    Column("answer", LargeBinary),
    Index("batch_lines_by_outcome", "batch_id", "outcome"),
)

events = Table(
    "response_events",
    metadata,
    Column("response_id", String(96), primary_key=True),
    Column("sequence", Integer, primary_key=True),
    Column("type", String(64), nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("is_last", Boolean, nullable=False),
)

jobs = Table(
    "gallery_jobs",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("folder", String(64), nullable=False, index=True),  # the models folder that it fills
    Column("likeness", String(64), nullable=False),  # a digest of what is asked: two alike share one job
    Column("name", String(255), nullable=False),  # of the model, for people
    Column("request", LargeBinary, nullable=False),
    Column("status", String(16), nullable=False, index=True),
    Column("created_at", Double, nullable=False),
    Column("changed_at", Double, nullable=False),
    Column("not_before", Double, nullable=False, server_default="0"),
    Column("owner", String(255)),  # the process that works on it
    Column("lease_until", Double),
    Column("claims", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("cancelled", Boolean, nullable=False, default=False),
    Column("progress", LargeBinary, nullable=False),  # what was last told of it
    Column("error", Text),
    Column("result", LargeBinary),  # what has been installed, once it is
)
