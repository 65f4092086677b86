"""Virtual environments of engines: what each consists of, how it is installed and removed, how a worker runs on it.

The engines' requirements contradict each other, so each may have an environment of its own in the folder of
`LOCALAI_BACKENDS_PATH`. Knows no engine: `kinds` names those that there are.
"""
