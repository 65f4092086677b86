"""A small measurement of a running server.

command      `localai-flask bench`
measurement  requests side by side, and what comes of them
"""
