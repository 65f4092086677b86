"""Run the pool manager, as gunicorn's hooks do."""

from localai_flask.pool.manager.run import main

main()
