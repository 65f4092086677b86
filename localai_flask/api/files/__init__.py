"""OpenAI's files: what clients upload, and what batches write."""
