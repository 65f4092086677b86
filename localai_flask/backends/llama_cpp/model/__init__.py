"""A loaded model: the library, devices, weights, contexts, adapters and vocabulary."""
