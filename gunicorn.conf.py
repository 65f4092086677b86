"""gunicorn's configuration; settings come from LOCALAI_* variables (see README.md), hooks from the package."""

from localai_flask.server.gunicorn_settings import *  # noqa: F403  gunicorn reads this module's names
