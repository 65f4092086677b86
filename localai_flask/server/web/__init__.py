"""The web worker: reads requests from clients' connections, and gives the whole ones to threads."""
