"""Starting coding agents and editors on this server.

command   `localai-flask launch`
clients   what each client has to be told, and how
"""
