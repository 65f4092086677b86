"""Images through llama.cpp's mtmd: from their pixels to what stands for them in a prompt and in the cache."""
