"""What a request asks of an answer's form, as one constraint that engines enforce."""
