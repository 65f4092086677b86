"""What engines have in common that are spoken to over HTTP."""
