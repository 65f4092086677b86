#!/usr/bin/env python3
"""Train the demo model on text that is made up while it trains, then write models/demo.gguf.

    python models/demo/train.py                  about an hour on two cores
    python models/demo/train.py --minutes 5      a quick look whether it works

The learning rate follows the clock, so that a slow machine ends in time too, with a weaker model.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from random import Random

import export
import numpy as np
import text
import torch
import torch.nn.functional as F
from model import Llama, Muon, Shape
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

CONTROL = [text.END_OF_TEXT, "<|im_start|>", "<|im_end|>"]
TAGS = ["<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<tools>", "</tools>"]
CORES = 2
BATCH_TOKENS = 1024
LONGEST = 640
POOL = 400
PEAK_MATRICES, PEAK_REST = 0.016, 0.003


def build_tokenizer(size: int) -> Tokenizer:
    """Learn a byte-level vocabulary from the words that recur, so that names fall into small pieces."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    tokenizer.decoder = decoders.ByteLevel()
    words: Counter = Counter()
    for document in islice(text.documents(seed=0), 6000):
        plain = "".join(part for part, _ in document)
        for tag in CONTROL + TAGS:
            plain = plain.replace(tag, "\n")
        words.update({plain[a:b] for _, (a, b) in tokenizer.pre_tokenizer.pre_tokenize_str(plain)})
    common = [word for word, count in words.items() if count >= 12 for _ in range(count)]
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(CONTROL + TAGS), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(common, trainer)
    tokenizer.add_special_tokens(CONTROL)
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in TAGS])
    return tokenizer


def encode(tokenizer: Tokenizer, document: text.Document) -> tuple[list[int], list[int]]:
    """Turn a document into tokens and targets; -100 marks what is not learned."""
    tokens, targets = [tokenizer.token_to_id(text.END_OF_TEXT)], [-100]
    for part, learn in document:
        ids = tokenizer.encode(part, add_special_tokens=False).ids
        tokens += ids
        targets += ids if learn else [-100] * len(ids)
    return tokens, targets


def padded(rows: list[list[int]], length: int, fill: int) -> np.ndarray:
    """Stack rows of unlike length."""
    return np.array([row + [fill] * (length - len(row)) for row in rows])


def batches(tokenizer: Tokenizer, seed: int, easy: int):
    """Yield batches of documents of like length, for ever."""
    rng, source = Random(seed), text.documents(seed, easy)
    while True:
        pool = sorted((encode(tokenizer, document) for document in islice(source, POOL)), key=lambda pair: len(pair[0]))
        pool = [pair for pair in pool if len(pair[0]) <= LONGEST]
        cut = []
        while pool:
            longest = len(pool[-1][0])
            rows = [pool.pop() for _ in range(min(len(pool), max(1, BATCH_TOKENS // longest)))]
            cut.append((padded([a for a, _ in rows], longest, 0), padded([b for _, b in rows], longest, -100)))
        rng.shuffle(cut)
        yield from cut


def fill_queue(tokenizer_json: str, seed: int, easy: int, queue) -> None:
    """Make batches in a process of its own."""
    torch.set_num_threads(1)
    for batch in batches(Tokenizer.from_str(tokenizer_json), seed, easy):
        queue.put(batch)


def rate(progress: float) -> float:
    """Rise quickly, stay, and sink over the second half to nothing."""
    return min(1.0, progress / 0.02, (1 - progress) / 0.55)


def save(path: Path, model: Llama, tokenizer: Tokenizer) -> None:
    """Write a checkpoint, whole or not at all."""
    partial = path.with_suffix(".partial")
    torch.save({"shape": model.shape, "weights": model.state_dict(), "tokenizer": tokenizer.to_str()}, partial)
    partial.replace(path)


def gradients(model: Llama, batch) -> tuple[float, list[torch.Tensor]]:
    """Compute the loss of one batch and its gradients."""
    tokens, targets = map(torch.from_numpy, batch)
    wanted = targets[:, 1:]
    states = model(tokens[:, :-1])[wanted >= 0]
    loss = F.cross_entropy(model.logits(states), wanted[wanted >= 0])
    return loss.item(), torch.autograd.grad(loss, list(model.parameters()))


def train(model: Llama, queue, minutes: float, checkpoint) -> None:
    """Train until the time is up; every core takes a batch of its own, so that none waits within a step."""
    matrices = [p for p in model.blocks.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if all(p is not m for m in matrices)]
    optimizers = [Muon(matrices[core::CORES], lr=PEAK_MATRICES) for core in range(CORES)]
    optimizers.append(torch.optim.AdamW(rest, lr=PEAK_REST, betas=(0.9, 0.95), weight_decay=0.0))
    start, step, recent = time.monotonic(), 0, 0.0
    with ThreadPoolExecutor(CORES, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        while (progress := (time.monotonic() - start) / (60 * minutes)) < 1:
            losses, found = zip(*pool.map(lambda _: gradients(model, queue.get()), range(CORES)), strict=True)
            for p, *parts in zip(model.parameters(), *found, strict=True):
                p.grad = sum(parts) / CORES
            for optimizer in optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = rate(progress) * (PEAK_MATRICES if isinstance(optimizer, Muon) else PEAK_REST)
            list(pool.map(lambda optimizer: optimizer.step(), optimizers))
            step += 1
            loss = sum(losses) / CORES
            recent = loss if step == 1 else 0.96 * recent + 0.04 * loss
            if step % 50 == 0:
                print(f"step {step}  {60 * minutes * progress:.0f} s  loss {recent:.3f}", flush=True)
            if step % 100 == 0:
                checkpoint()
    checkpoint()


def main() -> None:
    """Train and export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--checkpoint", type=Path, default=Path(tempfile.gettempdir()) / "demo.pt")
    parser.add_argument("--out", type=Path, default=export.MODEL)
    parser.add_argument("--resume", type=Path, help="start from the weights of this checkpoint")
    parser.add_argument("--easy", type=int, default=20000, help="how many documents are short, to learn copying first")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    torch.manual_seed(arguments.seed)
    torch.set_num_threads(1)
    shape = Shape()
    model = Llama(shape)
    if arguments.resume:
        saved = torch.load(arguments.resume, weights_only=False)
        model.load_state_dict(saved["weights"])
    tokenizer = Tokenizer.from_str(saved["tokenizer"]) if arguments.resume else build_tokenizer(shape.vocabulary)
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {tokenizer.get_vocab_size()} tokens", flush=True)
    context = multiprocessing.get_context("spawn")
    queue = context.Queue(maxsize=16)
    context.Process(
        target=fill_queue, args=(tokenizer.to_str(), arguments.seed, arguments.easy, queue), daemon=True
    ).start()
    train(model, queue, arguments.minutes, lambda: save(arguments.checkpoint, model, tokenizer))
    export.write(arguments.checkpoint, arguments.out)


if __name__ == "__main__":
    sys.exit(main())
