"""A model's text, read back as it comes: thinking, content and calls."""
