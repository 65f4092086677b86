"""Rendering of the models' own chat templates, bounded."""
