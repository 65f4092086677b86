"""Guessing ahead: by a smaller model, or by what followed before."""
