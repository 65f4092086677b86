"""Run one model worker, as the pool manager does."""

from localai_flask.pool.worker.worker import main

main()
