"""HTTP: one package for each API family, and what they share. A route is parse, submit, render."""
