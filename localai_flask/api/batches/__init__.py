"""OpenAI's batches: requests in a file, answered while nobody waits for them."""
