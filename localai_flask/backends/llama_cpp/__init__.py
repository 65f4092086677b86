"""The llama.cpp engine: GGUF models, many requests in one batch over one unified KV cache.

    engine, inquiries   the backend's verbs, and all that is asked beside generating
    scheduling/         what each step computes: sequences, the batch, the pace of prompts beside streams
    cache/              which tokens stay and where a prompt starts: the tree, prefixes, checkpoints, host memory
    sampling/           how a sequence's next token is chosen
    speculation/        how far to guess ahead, and in which way
    model/              one loaded model: library, devices, weights, contexts, adapters, vocabulary
    threads/            how many threads compute a step, and whether they spin or sleep while they wait
    options/            a model's YAML to this engine's parameters
    rpc/                devices of other machines

In-process use, as in a benchmark: `load`, `prepare` and `start` jobs, then `step` until `is_idle`.
"""
