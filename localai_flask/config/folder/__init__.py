"""The models folder: which models it holds, what their names mean, and when it was looked at."""
