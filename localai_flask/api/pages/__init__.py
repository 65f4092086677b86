"""What is served beside the API families: probes, metrics, lists, the OpenAPI page."""
