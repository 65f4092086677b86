"""How the bytes of one file come from a server to their place: connections, the part file, checks of names and sums."""
