"""How the next tokens of many sequences are chosen from their logits, for every engine whose logits torch has."""
