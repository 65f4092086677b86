"""The server's processes under gunicorn: its settings and hooks, the web worker class, and the child processes."""
