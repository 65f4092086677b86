"""The requests that a worker has taken: from their arrival, past the engine that looks at them, to their turn."""
