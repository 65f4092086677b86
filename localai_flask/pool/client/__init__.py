"""The web workers' side of the pool."""
