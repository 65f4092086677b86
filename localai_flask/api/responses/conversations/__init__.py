"""OpenAI's conversations: items under an id, to which responses add their turns."""
