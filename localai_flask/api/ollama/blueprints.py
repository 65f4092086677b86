"""All of Ollama's API, for the application."""

from __future__ import annotations

from localai_flask.api.ollama import embeddings, management, models, routes

BLUEPRINTS = (routes.bp, embeddings.bp, models.bp, management.bp)
