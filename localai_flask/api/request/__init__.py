"""What every family's requests share: bodies, fields, the model that is meant, how they wait."""
