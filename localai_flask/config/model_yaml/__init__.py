"""A YAML file in LocalAI's format to `ModelConfig`s: lines, keys and their fates, and the files that it names."""
