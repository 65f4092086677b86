"""The Open Responses API (openresponses.org), which is OpenAI's Responses API."""
