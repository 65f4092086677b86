"""The web worker: reads requests from clients' connections, and gives the whole ones to threads."""

SPARE_THREADS = 128
"""Threads beyond those for model work, so that listings and refusals answer while every stream is busy. They are made
when needed, and cost little while they wait."""
