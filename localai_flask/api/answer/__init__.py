"""How answers leave: as JSON, as server-sent events, as errors."""
