"""All of Ollama's API, for the application."""

from __future__ import annotations

from localai_flask.api.ollama import embeddings, routes
from localai_flask.api.ollama.models import listing, management

BLUEPRINTS = (routes.bp, embeddings.bp, listing.bp, management.bp)
