"""Run one model worker, as the pool manager does."""

from localai_flask.pool.worker.worker import main

if __name__ == "__main__":  # processes that an engine starts import it under another name
    main()
