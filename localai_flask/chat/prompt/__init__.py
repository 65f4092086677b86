"""From a conversation to the text that a model reads."""
