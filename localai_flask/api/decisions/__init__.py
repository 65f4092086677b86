"""Typed questions about a text, answered as probabilities: OpenAI's Decisions, and TypeSafe's System One."""
