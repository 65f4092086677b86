"""What the manager knows of models and workers: plain data, and what each piece of news changes in it."""
