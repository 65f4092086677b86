"""One model worker: one engine, one model, many requests."""
