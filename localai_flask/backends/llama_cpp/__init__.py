"""The llama.cpp engine: GGUF models, many requests in one batch over one unified KV cache.

    library     the C library, its environment and its log       vocabulary  text to tokens and back
    options     YAML to this engine's parameters                 cache       slots of the KV cache and their prefixes
    model       one loaded model and its context                 scheduler   what each step computes
    batch       the arrays of a step                             sampler     how a sequence's next token is chosen
    constraint  what a sequence may say                      faults      where a JSON Schema is wrong
    engine      the backend's verbs                              branches    what the slots share: the tree's books
    states      sequences as bytes                               hoststore   idle branches in host memory
    prefixes    where a prompt can start from                    overflow    branches on their way there and back
    checkpoints where memory that forgets can be gone back to    shifting    which cached tokens can move
    advance     what a sequence makes of a step's logits         speculation how far to guess ahead, and in which way
    draft       guesses of a second model                        lookup      guesses from what was said before

In-process use, as in a benchmark: `load`, `submit` jobs, then `step` until `is_idle`.
"""

from localai_flask.backends.llama_cpp.engine import LlamaCppBackend

__all__ = ["LlamaCppBackend"]
