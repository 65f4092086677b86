"""The table of this server beside `llama-server`: its rows, how each is measured, and how it is printed and drawn."""
