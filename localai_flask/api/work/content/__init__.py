"""What a conversation brings along, and where it is had from: images, documents, and the bytes of both."""
