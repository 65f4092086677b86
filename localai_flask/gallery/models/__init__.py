"""Models that the server puts into its folder: what is written for one, what is remembered of it, how it is removed."""
