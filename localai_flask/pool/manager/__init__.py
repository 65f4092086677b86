"""The process that starts and stops model workers."""
