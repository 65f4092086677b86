"""Questions about a text that are answered as probabilities of a few options, without any text being written."""
