"""What is wrong with this machine, the engine and the server: for `localai-flask doctor` and hints at the start.

findings    what a check has found, and what to do about it
gpus        the GPUs of the machine, and which of them the engine was built for
engine      the llama.cpp engine, tried in a process of its own
trial       that process
settings    which settings keep a server from starting or have no effect, and room on the disk
speed       how large a model fits, and how fast the processor could write with it
machine     Python, processor and memory, models folder, and the running server
"""
