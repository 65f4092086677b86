"""`python -m localai_flask` is the `localai-flask` command."""

from localai_flask.cli import main

main()
