"""The vLLM engine: its library in the worker's own process for one device, and beside it for several."""
