"""How tokens are chosen: what models, their families and servers have as defaults, and what requests ask for."""
