"""Who may come in, under which name, and how much work at once."""
