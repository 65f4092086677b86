"""What a sequence may say: constraints compiled with llguidance, and where each sequence stands in its own.

Shared by all engines that can hold an answer to a form; knows tokens only, neither logits nor requests.
"""
