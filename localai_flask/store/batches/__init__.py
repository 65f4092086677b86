"""Batches of requests: lines that are answered one by one by whichever process holds the batch's lease."""
