"""The work on batches: lines are read, answered one by one, and written into files."""
