"""What lies in a models folder, read within bounds: of bytes, of nesting, and thereby of time and memory.

Any process reads here, also a web worker that serves all models, so a file that somebody else made may cost it little
and its faults are always a `ConfigError`.
"""
