"""Routes that vLLM has beside those of OpenAI."""
