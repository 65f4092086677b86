"""Galleries: lists of models in LocalAI's format, where they lie, and what their entries say."""
