"""How a sequence's next token is chosen, and the log-probability of the choice.

Knows one sequence at a time, and neither text nor stop strings nor slots.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np

from localai_flask.backends.grammars.guide import Allowed, Guide
from localai_flask.backends.llama_cpp.model.vocabulary import Vocabulary
from localai_flask.backends.llama_cpp.sampling import chains
from localai_flask.backends.llama_cpp.sampling.candidates import Ids, Row
from localai_flask.backends.llama_cpp.sampling.logprobs import token_logprob
from localai_flask.backends.llama_cpp.sampling.mirostat import Mirostat
from localai_flask.backends.llama_cpp.scheduling.batch import Logits
from localai_flask.backends.output.rules import NOTHING_LEFT, OutputRules
from localai_flask.errors import ApiError, InvalidRequest
from localai_flask.generation import TokenLogprob
from localai_flask.sampling_params import SamplingParams

RANDOM_SEEDS = 0xFFFFFFFF
"""One less than there are seeds: llama.cpp takes the last one for "choose at random"."""
BANNED = float("-inf")


class Sampler:
    """Chooses the tokens of one sequence; it may hold C memory until `close`.

    Biases and penalties are written over the few logits that they are about and taken back after the choice, since
    log-probabilities are read from the same memory and are the model's own. The highest logit needs no chain.
    """

    def __init__(
        self,
        params: SamplingParams,
        vocabulary: Vocabulary,
        logits: Logits,
        context_size: int,
        prompt: Sequence[int],
        *,
        guide: Guide | None = None,
    ):
        """Build the chains; the penalties count the prompt's last tokens too."""
        self._vocabulary, self._logits, self._guide = vocabulary, logits, guide
        self._rules = OutputRules.of(params, prompt, vocabulary.ends, vocabulary.piece)
        self._only = _only(params, vocabulary)
        self._named = params.logprob_token_ids
        biases = _biases(params, vocabulary)
        self._biased = np.array(list(biases), np.int64)
        self._bias = np.array(list(biases.values()), np.float32)
        self._touched = _Touched(self._biased)
        self._penalties: chains.Chain | None = None
        if window := chains.penalties_window(params, context_size):
            self._penalties = chains.penalizing(params, vocabulary, context_size, prompt)
            self._touched.add(prompt[-window:])
        self._choice: chains.Choice | Mirostat | None = None
        varies = not params.mirostat and (params.dynatemp_range > 0 or params.xtc_probability > 0)
        if params.temperature > 0 or varies:  # else the likeliest token is all that is left, for Mirostat too
            seed = random.randrange(RANDOM_SEEDS) if params.seed == -1 else params.seed % RANDOM_SEEDS
            self._choice = Mirostat(params, seed) if params.mirostat else chains.Choice(params, vocabulary, seed)

    @property
    def is_bound(self) -> bool:
        """Whether tokens are forbidden that the form may ask for."""
        return self._rules is not None or self._only is not None

    def sample(self, index: int) -> int:
        """Choose from the logits at a batch index, and remember the choice for the penalties.

        Raises `InvalidRequest` if the answer cannot be held to its form any longer.
        """
        banned = self._rules.banned() if self._rules is not None else []
        self._touched.add(banned)
        row, touched = self._logits.row(index), self._touched.ids
        raw = row[touched]
        try:
            self._adjust(row)
            row[banned] = BANNED
            token = self._choose_following(row)
        finally:
            row[touched] = raw
        self.follow(token)
        return token

    def follow(self, token: int) -> None:
        """Let the penalties and the form know a token that follows, whether it was sampled or not."""
        if self._penalties is not None:
            self._penalties.accept(token)
            self._touched.add([token])
        if self._choice is not None:
            self._choice.accept(token)
        if self._guide is not None:
            self._guide.accept(token)
        if self._rules is not None:
            self._rules.accept(token)

    def logprob(self, index: int, token: int, top: int) -> TokenLogprob:
        """Return a token's log-probability by the logits at a batch index, before sampling, and those asked for."""
        row, named = self._logits.row(index), self._named
        return token_logprob(self._logits.candidates, row, self._vocabulary, token, top, named)

    def close(self) -> None:
        for chain in (self._choice, self._penalties):
            if chain is not None:
                chain.close()
        self._choice = self._penalties = None

    def _adjust(self, row: Row) -> None:
        row[self._biased] += self._bias
        if self._penalties is not None:
            touched, candidates = self._touched.ids, self._logits.candidates
            candidates.put(touched, row[touched])
            row[touched] = candidates.apply(self._penalties.handle)

    def _choose(self, row: Row) -> int:
        if self._choice is not None:
            chosen = self._choice.choose(self._logits.candidates, row)
            if chosen is not None:
                return chosen
        elif row[token := int(row.argmax())] > BANNED:
            return token
        raise ApiError("The model gave logits from which no token can be chosen; its file may be damaged.")

    def _choose_following(self, row: Row) -> int:
        """Choose among the tokens that may follow.

        Drawn by chance, a token comes from the distribution without all others: to draw first and mask only if the
        token is refused would be another one, as the first draw's chain cuts off what the mask may need. The highest
        logit is the same either way, and nearly always allowed.
        """
        guide, rules, only = self._guide, self._rules, self._only
        if guide is None and rules is None and only is None:
            return self._choose(row)
        is_armed = guide is not None and guide.is_armed
        if self._choice is None and only is None and row.max() > BANNED:
            token = self._choose(row)
            if (guide is None or guide.allows(token)) and (rules is None or rules.allows(token)):
                return token
        if guide is not None and is_armed:
            only = guide.allowed() if only is None else guide.allowed() & only
        if only is not None:
            row = self._logits.candidates.masked(row, only)
        checks = [each.allows for each in (None if is_armed else guide, rules) if each is not None]
        return self._choose_allowed(row, checks)

    def _choose_allowed(self, row: Row, checks: Sequence[Callable[[int], bool]]) -> int:
        """Choose until nothing is said against a token: few are refused, such as those that end a banned text."""
        refused: dict[int, float] = {}
        try:
            while True:
                if not row.max() > BANNED:
                    raise InvalidRequest(NOTHING_LEFT)
                token = self._choose(row)
                if all(allows(token) for allows in checks):
                    return token
                refused[token] = row[token]
                row[token] = BANNED
        finally:
            for token_refused, logit in refused.items():
                row[token_refused] = logit


class _Touched:
    """The tokens whose logits are not the model's own when the choice is made; more of them do no harm."""

    def __init__(self, ids: Ids):
        self._ids, self._count, self._known = ids, len(ids), set(ids.tolist())

    @property
    def ids(self) -> Ids:
        return self._ids[: self._count]

    def add(self, tokens: Sequence[int]) -> None:
        new = [token for token in dict.fromkeys(tokens) if token not in self._known]
        if not new:
            return
        self._known.update(new)
        end = self._count + len(new)
        if end > len(self._ids):
            self._ids = np.resize(self._ids, 2 * end)
        self._ids[self._count : end] = new
        self._count = end


def _biases(params: SamplingParams, vocabulary: Vocabulary) -> dict[int, float]:
    """Return what is added to which token's logit; biases of one token add up, and a banned one stays so."""
    biases = dict(params.logit_bias)
    for text, bias in params.text_bias.items():
        for token in vocabulary.tokens(text):
            biases[token] = biases.get(token, 0.0) + bias
    banned = [*vocabulary.suppressed, *(vocabulary.ends if params.ignore_eos else ())]
    return {**biases, **dict.fromkeys(banned, BANNED)}


def _only(params: SamplingParams, vocabulary: Vocabulary) -> Allowed | None:
    """Return which tokens may be chosen at all, shape (vocabulary,); None for all."""
    if not params.allowed_token_ids:
        return None
    allowed = np.zeros(vocabulary.size, np.bool_)
    allowed[list(params.allowed_token_ids)] = True
    return allowed
