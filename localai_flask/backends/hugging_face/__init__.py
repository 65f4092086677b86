"""Tokenizers of the Hugging Face kind, and what follows the tokens of a sequence: for every engine that has one."""
