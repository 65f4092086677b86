"""Stored responses in SQL, SQLite or PostgreSQL: the responses, their items, and the events of background runs."""
