"""LocalAI's own endpoints, which no other family has: tokens of texts, and documents in the order of a query."""
