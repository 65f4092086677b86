"""The ExLlama engines: EXL2 and EXL3 folders on NVIDIA cards, by exllamav2's and exllamav3's generators."""
