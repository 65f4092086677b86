"""From a model's YAML to this engine's parameters."""
