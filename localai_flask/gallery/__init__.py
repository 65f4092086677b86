"""Where models come from: sources by scheme, the one downloader, and the model to begin with."""
