"""What other servers call the things that requests may ask for, and what becomes of it here."""
