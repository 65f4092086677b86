"""The threads that compute a step: how many, and whether they spin or sleep while they wait."""
