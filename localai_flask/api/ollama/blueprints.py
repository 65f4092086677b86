"""All of Ollama's API, for the application."""

from __future__ import annotations

from localai_flask.api.ollama import embeddings, routes
from localai_flask.api.ollama.models import listing as models
from localai_flask.api.ollama.models import management

BLUEPRINTS = (routes.bp, embeddings.bp, models.bp, management.bp)
