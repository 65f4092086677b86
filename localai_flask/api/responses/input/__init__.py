"""What a response answers: the items of its input, read, resolved, turned into messages and made short."""
