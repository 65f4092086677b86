"""What each step computes: sequences, the batch, and the pace of prompts beside streams."""
