"""Documents in the order in which they answer a query: Jina's API, and Cohere's."""
