"""A worker's engine: what it needs is fetched, its model is loaded, and one thread alone touches it."""
