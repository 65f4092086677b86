"""The server's processes: how they are started, watched, replaced and renewed, and what they may open."""
