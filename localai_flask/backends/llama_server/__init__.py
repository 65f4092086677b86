"""Engines that are programs of their own: llama.cpp's `llama-server` and its forks, spoken to over HTTP."""
