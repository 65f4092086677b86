"""How the next token is chosen: llama.cpp's samplers, numpy's help, constraints, log-probabilities."""
