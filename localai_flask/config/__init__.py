"""Model YAML to a frozen `ModelConfig`, defaults, and which model a name means."""
