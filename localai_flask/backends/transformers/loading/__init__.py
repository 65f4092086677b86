"""From a folder and the YAML to a model in memory."""
