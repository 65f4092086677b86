"""Stored responses, the conversations that they are turns of, background runs and chat streams."""
