"""How texts are continued: sequences, sampling, constraints, and the loops that run the model."""
