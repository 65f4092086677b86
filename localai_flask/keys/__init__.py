"""API keys: who calls, what they may do, and the file that names them."""
