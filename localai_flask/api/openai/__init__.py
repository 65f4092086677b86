"""OpenAI's API: chat completions, completions, edits and models."""
