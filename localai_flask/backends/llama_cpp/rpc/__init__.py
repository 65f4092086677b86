"""Devices of other machines, through llama.cpp's RPC."""
