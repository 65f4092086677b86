"""Processes: the manager that starts model workers, the workers, and the client that talks to them."""
