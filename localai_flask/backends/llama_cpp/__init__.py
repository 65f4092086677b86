"""The llama.cpp engine: GGUF models, many requests in one batch over one unified KV cache.

    engine      the backend's verbs                              inquiries   all that is asked beside generating

    scheduler   what each step computes                          pace        how many prompt tokens a step may compute
    sequence    one job from its submission to its end           advance     what it makes of a step's logits
    batch       the arrays of a step                             speculation how far to guess ahead, and in which way
    draft       guesses of a second model                        lookup      guesses from what was said before

    cache       which tokens stay, and how a prompt starts       prefixes    where a prompt can start from
    branches    what the slots share: the tree's books           shifting    which cached tokens can move
    hoststore   idle branches in host memory                     overflow    branches on their way there and back
    states      sequences as bytes                               checkpoints where memory that forgets can go back to

    sampler     how a sequence's next token is chosen            chains      llama.cpp's samplers in its order
    narrowing   which tokens a chain needs to see                candidates  them, as the samplers want them
    mirostat    choices of a steered surprise                    logprobs    what the model said before any sampler
    constraint  the vocabulary as grammars want it               vocabulary  text to tokens and back

    model       one loaded model and its context                 context     its size and parameters
    weights     where the tensors lie                            adapters    LoRA files
    pooling     a second context, for vectors and scores         library     the C library, its environment and its log
    threads     how many compute a step                          devices     what ggml can compute on
    waiting     whether they spin or sleep                       openmp      the library whose threads they are
    rpc_client  workers on other machines                        rpc_server  such a worker
    options     YAML to this engine's parameters                 option_table, option_kinds, option_reader   `options:`
    key_checks  what of the YAML has no effect, without the library

In-process use, as in a benchmark: `load`, `submit` jobs, then `step` until `is_idle`.
"""
