"""One sequence's answer as its tokens come: its text, what may follow, how long it thinks, and why it ends."""
