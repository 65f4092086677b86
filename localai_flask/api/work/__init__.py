"""One request's work on a model: its questions, its sequences, and how far they are."""
