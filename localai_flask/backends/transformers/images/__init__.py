"""Models that see: what their images become, and who of them can."""
