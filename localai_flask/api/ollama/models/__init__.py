"""Which models there are, in the words of Ollama: listed, described, pulled, copied and deleted."""
