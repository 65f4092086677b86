"""How the transformers engine chooses the next tokens of many sequences at once, without a model."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest

from localai_flask.backends import waiting_threads  # noqa: F401  before torch

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")

import numpy as np  # noqa: E402

from localai_flask.backends.token_choice.narrowing import narrow  # noqa: E402
from localai_flask.backends.token_choice.row_choice import Row, choose_tokens  # noqa: E402
from localai_flask.backends.token_choice.sampler import TokenSampler  # noqa: E402
from localai_flask.sampling_params import SamplingParams  # noqa: E402

SIZE = 5000
FREE = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=1)
WAYS: list[dict[str, Any]] = [
    {},
    {"temperature": 0.0},
    {"temperature": 1e-30},
    {"top_k": 40},
    {"top_k": 41, "top_p": 0.9},
    {"top_k": 40, "typical_p": 0.7},
    {"top_k": SIZE},
    {"top_p": 0.3},
    {"top_p": 0.95},
    {"top_p": 0.0},
    {"min_p": 0.1},
    {"min_p": 0.0001, "temperature": 3.0},
    {"typical_p": 0.5},
    {"repeat_penalty": 1.3, "repeat_last_n": -1},
    {"logit_bias": {7: 5.0, 8: -5.0}},
    {"allowed_token_ids": tuple(range(100))},
    {"top_logprobs": 3},
]
"""One change each of how to sample."""


def asked(**changes: Any) -> SamplingParams:
    return msgspec.structs.replace(FREE, **changes)


def row(params: SamplingParams, history: list[int] = [1, 2, 2]) -> Row:  # noqa: B006  never written to
    return Row(TokenSampler(params), lambda last: history if last < 0 else history[-last:])


def tied_logits(rows: int, seed: int = 0) -> Any:
    """Logits as models of 16 bits give them: many are equal."""
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(rows, SIZE, generator=generator) * 2).bfloat16().float()


def test_a_seed_gives_the_same_tokens_alone_and_among_others() -> None:
    together, reversed_rows, alone = ([row(asked(**way)) for way in WAYS] for _ in range(3))
    for step in range(20):
        logits = tied_logits(len(WAYS), step)
        found = choose_tokens(together, logits.clone())
        assert found == choose_tokens(reversed_rows[::-1], logits.flip(0))[::-1]
        assert found == [choose_tokens([each], logits[[at]])[0] for at, each in enumerate(alone)]
    logprobs = [each.sampler.logprobs for each in together]
    assert logprobs == [each.sampler.logprobs for each in alone]
    assert [len(each) for each in logprobs] == [0] * (len(WAYS) - 1) + [20]


@pytest.mark.parametrize("way", WAYS, ids=str)
def test_what_is_drawn_has_the_chances_that_were_asked_for(way: dict[str, Any]) -> None:
    """The reference sorts everything, one row at a time."""
    params, logits, draws = asked(**way), tied_logits(1)[0] * 3, 800
    sampler = row(params)
    counts: Counter[int] = Counter()
    for _ in range(draws // 50):
        counts.update(token for _ in range(50) for token in choose_tokens([sampler], logits[None].clone()))
    expected = expected_chances(logits.double().numpy(), params)
    assert all(expected[token] > 0 for token in counts)
    for token in np.argsort(-expected)[:3]:
        share = counts[int(token)] / draws
        assert share == pytest.approx(expected[token], abs=5 * (0.25 / draws) ** 0.5)


def expected_chances(logits: Any, params: SamplingParams) -> Any:
    logits = logits.copy()
    for token, bias in params.logit_bias.items():
        logits[token] += bias
    if params.repeat_penalty != 1.0:
        for token in (1, 2):
            logits[token] *= 1 / params.repeat_penalty if logits[token] > 0 else params.repeat_penalty
    if params.allowed_token_ids:
        logits[[token for token in range(SIZE) if token not in params.allowed_token_ids]] = -np.inf
    order = np.lexsort((np.arange(SIZE), -logits))
    order = order[: params.top_k] if params.top_k else order
    if params.temperature < 1e-6:
        order = order[:1]
    chances = np.exp(logits[order] - logits[order[0]])
    order = order[narrow(logits[order], chances / chances.sum(), params)]
    shares = np.zeros(SIZE)
    shares[order] = np.exp((logits[order] - logits[order[0]]) / max(params.temperature, 1e-6))
    return shares / shares.sum()


def test_equal_logits_come_in_the_order_of_their_ids_wherever_the_look_ends() -> None:
    flat = torch.zeros(1, SIZE)
    found = {choose_tokens([row(asked(top_k=3, seed=seed))], flat.clone())[0] for seed in range(60)}
    assert found == {0, 1, 2}
    half = {choose_tokens([row(asked(top_p=0.5, seed=seed))], flat.clone())[0] for seed in range(200)}
    assert max(half) < SIZE / 2 and max(half) > SIZE / 3


def test_a_share_is_one_of_the_whole_vocabulary() -> None:
    """Not of the few hundred tokens that are looked at first."""
    falling = -torch.arange(SIZE)[None] / SIZE
    found = [choose_tokens([row(asked(top_p=0.5, seed=seed))], falling.clone())[0] for seed in range(60)]
    assert SIZE / 5 < max(found) < SIZE / 2


def test_penalties_are_llama_cpps() -> None:
    """Observed through log-probabilities of what is left of two tokens."""
    logits = torch.tensor([[2.0, -2.0, 1.0, 0.0]])
    params = asked(repeat_penalty=2.0, frequency_penalty=0.5, presence_penalty=0.25, repeat_last_n=-1)
    scores = logits.clone()
    choose_tokens([row(params, [0, 1, 1])], scores)
    assert scores.tolist() == [[0.25, -5.25, 1.0, 0.0]]


@pytest.mark.parametrize(
    ("params", "kept"),
    [
        (SamplingParams(top_p=1.0), 4),
        (SamplingParams(top_p=0.6), 2),
        (SamplingParams(top_p=0.0), 1),
        (SamplingParams(top_p=1.0, min_p=0.4), 2),
        (SamplingParams(top_p=1.0, min_p=1.0), 1),
    ],
)
def test_narrowing_keeps_the_likeliest(params: SamplingParams, kept: int) -> None:
    chances = np.array([0.5, 0.3, 0.15, 0.05])
    assert narrow(np.log(chances), chances, params).tolist() == list(range(kept))


def test_typical_keeps_what_surprises_as_much_as_expected() -> None:
    chances = np.array([0.4, 0.15, 0.15, 0.15, 0.15])  # an entropy of 1.5 nats lies nearer to 0.15 than to 0.4
    kept = narrow(np.log(chances), chances, SamplingParams(top_p=1.0, typical_p=0.5)).tolist()
    assert 0 not in kept and len(kept) == 4


def test_one_row_without_finite_numbers_leaves_the_others() -> None:
    logits = tied_logits(4)
    logits[1, 5] = float("nan")
    logits[2] = -float("inf")
    rows = [row(asked(temperature=0.0)) for _ in range(4)]
    rows[3].sampler.params = asked(temperature=0.0, allowed_token_ids=(3,), logit_bias={3: -float("inf")})
    best = int(logits[0].argmax())
    tokens = choose_tokens(rows, logits)
    assert tokens[0] == best
    assert [each.sampler.broken for each in rows] == [False, True, True, False]
    assert rows[3].sampler.failure is not None
