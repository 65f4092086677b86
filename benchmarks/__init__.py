"""What the server costs beside the engine, as ratios measured side by side in one run."""
