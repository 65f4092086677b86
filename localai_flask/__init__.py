"""OpenAI-compatible inference server over models that people run themselves."""

__version__ = "0.1.0"
