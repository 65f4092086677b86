"""The gallery that comes with this package: index.yaml."""
