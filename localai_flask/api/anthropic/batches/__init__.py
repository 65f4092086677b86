"""Anthropic's batches of messages, on the same store and worked on in the same way as OpenAI's."""
