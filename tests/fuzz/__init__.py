"""Tens of thousands of requests as strangers may send them, against the application in this process.

`python -m tests.fuzz --requests 20000 --seed 1` (or `make fuzz`) says what it found, with the request that shows it.
"""
