"""How values are written as text, and literals read."""
