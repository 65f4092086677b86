"""The KV cache: its tree of branches, prefixes, checkpoints, and idle branches in host memory."""
