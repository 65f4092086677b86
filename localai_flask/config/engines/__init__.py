"""What configuration knows of engines, which it never imports: their facts, their names, and which one fits a file."""
