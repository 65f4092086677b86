"""What each step computes: the next token of every running sequence first, then prompts.

Short prompts pass a long one that came before them, which still advances in every step.

Owns the list of running sequences. Knows no model: it fills a batch and is told when that was computed.
"""

from __future__ import annotations

from collections.abc import Callable

from localai_flask.backends.llama_cpp.cache.kv_cache import PrefixCache
from localai_flask.backends.llama_cpp.model.adapters import AdapterSet
from localai_flask.backends.llama_cpp.sampling.sampler import Sampler
from localai_flask.backends.llama_cpp.scheduling.batch import Batch
from localai_flask.backends.llama_cpp.scheduling.pace import LEAST_CHUNK, Pace
from localai_flask.backends.llama_cpp.scheduling.sequence import Sequence
from localai_flask.backends.llama_cpp.scheduling.shares import Chunk, ImageShare, Share
from localai_flask.backends.llama_cpp.scheduling.turns import Turns
from localai_flask.backends.llama_cpp.vision.chunks import whole

MOST_FORCED = 64
"""How many forced tokens a sequence computes in one step, so that the others need not wait for a long text."""
COHORT_S = 3.0
"""How long those that begin together may wait, all in all, behind their first token for each other's prompts."""
SHORT = 4
"""A prompt passes the oldest one if at most a fourth of that one's tokens are left for it to compute."""


class Scheduler:
    """Keeps sequences in `prefilling` until their prompt is computed, then in `decoding`."""

    def __init__(
        self,
        cache: PrefixCache,
        pace: Pace,
        make_sampler: Callable[[Sequence], Sampler],
        *,
        n_batch: int,
        n_outputs: int,
        joins: bool = True,
        splits_images: bool = True,
    ):
        """`n_outputs` of a batch of `n_batch` tokens may ask for logits; with `joins`, sequences join the running.

        With `splits_images`, an image may be computed in parts.
        """
        self.prefilling: list[Sequence] = []
        self.decoding: list[Sequence] = []
        self._cache = cache
        self._pace = pace
        self._make_sampler = make_sampler
        self._n_batch = n_batch
        self._n_outputs = n_outputs
        self._joins = joins
        self._splits_images = splits_images
        self._image_room = 0
        """How many tokens of an image the next step may compute."""
        self._image_debt = 0
        """How many more of an image were computed than streams beside it had room for."""
        self._most: int | None = None
        """The most prompt tokens of a step while the cache has no room for more; None: as many as the pace allows."""
        self._is_under_way = False
        """Whether something of those that run has been computed."""
        self._waited_tokens = 0
        """How many tokens of prompts were computed while those that have begun waited for the others."""
        self.adapters: AdapterSet | None = None
        """What the next step computes with; None: what the model was loaded with."""
        self._turns = Turns()
        self._passed_over = 0
        """How many streams wait for a step with their adapters."""

    @property
    def running(self) -> int:
        return len(self.prefilling) + len(self.decoding)

    @property
    def room(self) -> int:
        """How many more sequences could start now."""
        return self._cache.room if self._joins or not (self._is_under_way and self.running) else 0

    @property
    def is_lone(self) -> bool:
        """Whether one sequence runs that had nothing beside it from its beginning on."""
        return self.running == 1 and self._most is None and self._all()[0].alone

    def find(self, job_id: int) -> Sequence | None:
        return next((sequence for sequence in self._all() if sequence.job.id == job_id), None)

    def remove(self, sequence: Sequence) -> None:
        """Forget a sequence, whatever its stage, and give back what it holds; its tokens stay cached."""
        for place in (self.decoding, self.prefilling):
            if sequence in place:
                place.remove(sequence)
        self.adapters = self.adapters if self.running else None
        sequence.adapters = None
        sequence.sampler.close()
        self._cache.give_back(sequence.slot, len(sequence.prompt), sequence.job.sampling.keep_s)

    def start(self, sequence: Sequence) -> bool:
        """Assign a slot, of which there must be one, unless the sequence can start from a prompt still being computed.

        Then it waits for that, and others pass it.
        """
        alone = self.running == 0 and self._cache.can_repeat and sequence.is_repeatable
        scope, caller = sequence.scope, sequence.job.caller
        if self._cache.is_coming(sequence.reusable, caller, scope, alone=alone):
            return False
        if self._cache.should_wait(sequence.reusable, [(each.prompt, each.slot) for each in self.prefilling], scope):
            return False
        self._is_under_way = self._is_under_way and self.running > 0
        sequence.alone = alone
        take = self._cache.take_alone if alone else self._cache.take
        slot = take(sequence.reusable, caller, scope)
        sequence.admit(slot, self._make_sampler(sequence))
        self.prefilling.append(sequence)
        return True

    def advancing(self) -> list[Sequence]:
        """Return the running sequences that the next step advances: all, or none where they wait for prompts.

        Sequences that begin together then run together, in steps that compute more of them at once. A stream with
        nothing but its first token has no pace yet that prompts could break; one that has passed a long prompt goes on.
        """
        if not (self.prefilling and all(each.is_new for each in self.decoding)):
            return self.decoding
        first = min(each.output.started_at for each in self.prefilling)
        left = sum(each.left for each in self.prefilling)
        if any(each.output.started_at > first for each in self.decoding) or any(
            each.images for each in self.prefilling
        ):
            return self.decoding
        return [] if self._pace.seconds(self._waited_tokens + left) <= COHORT_S else self.decoding

    def take_turn(self, streams: list[Sequence]) -> list[Sequence]:
        """Choose whose adapters the next step computes with; return those of the streams that run with them."""
        wanting = {each.scope: each.adapters for each in (*streams, *self.prefilling) if each.is_computable}
        if wanting:
            self.adapters = wanting[self._turns.choose(wanting)]
        ours = self._in_turn(streams)
        self._passed_over = len(streams) - len(ours)
        return ours

    def _in_turn(self, sequences: list[Sequence]) -> list[Sequence]:
        return [each for each in sequences if each.adapters is self.adapters]

    def plan(self, batch: Batch, streams: list[Sequence]) -> tuple[list[Share], list[Chunk]]:
        """Fill the batch: with each share of these running sequences, then with these chunks of prompts."""
        batch.clear()
        self._is_under_way = self.running > 0
        outputs = self._n_outputs - self.running
        """How many logits may be asked for beside those that are sampled from anyway."""
        for sequence in streams:
            if sequence.shifts and self._cache.is_nearly_full(sequence.slot):
                self._cache.shift(sequence.slot, sequence.kept)
        shares = self._plan_streams(batch, streams, outputs)
        if shares or not self.decoding:
            self._waited_tokens = 0
        prompts = self._in_turn(self.prefilling)
        if not prompts:
            return shares, []
        outputs -= sum(len(share.sequence.draft) for share in shares)
        left = sum(sequence.left for sequence in prompts)
        whole = sum(len(sequence.prompt) - sequence.job.num_cached for sequence in prompts)
        beside = len(shares) or self._passed_over
        budget = self._pace.budget(beside, left, whole, is_lone=len(self.prefilling) == 1)
        room = min(budget, self._n_batch - batch.size)
        room = room if self._most is None else min(room, self._most)
        self._image_debt = max(self._image_debt - room, 0) if shares else 0
        if self._next_image() is None:
            chunks = self._plan_prompts(batch, prompts, room, outputs + 1)
            if self.decoding and not shares:
                self._waited_tokens += batch.size
            return shares, chunks
        chunks = self._plan_prompts(batch, prompts, -(-room // 2), outputs + 1)
        self._image_room = room - sum(len(chunk.tokens) for chunk in chunks)
        return shares, chunks

    def plan_image(self) -> ImageShare | None:
        """Choose what the step computes of an image: one that was encoded, as far as the others leave room.

        A whole one goes beyond that; then the next one waits until streams have had their time.
        """
        sequence = self._next_image()
        if sequence is None or (placed := sequence.image) is None or self._image_debt:
            return None
        count = placed.end - sequence.slot.length
        if sequence.is_anew:
            return ImageShare(sequence, placed, min(count, self._n_batch))
        if self._splits_images:
            return ImageShare(sequence, placed, min(count, max(self._image_room, LEAST_CHUNK), self._n_batch))
        self._image_debt = max(count - self._image_room, 0)
        return ImageShare(sequence, placed, count)

    def _next_image(self) -> Sequence | None:
        """Find the sequence started first that has come to an image which is encoded."""
        images = ((sequence, sequence.image) for sequence in self._in_turn(self.prefilling) if sequence.images)
        return next((sequence for sequence, image in images if image and image.embedding is not None), None)

    def _plan_streams(self, batch: Batch, streams: list[Sequence], outputs: int) -> list[Share]:
        if all(len(each.pending) == 1 and not each.draft for each in streams):
            slots, tokens = [each.slot for each in streams], [each.pending[0] for each in streams]
            begin = batch.add_tokens(tokens, [slot.position for slot in slots], [slot.id for slot in slots])
            return [Share(each, each.pending, begin + place) for place, each in enumerate(streams)]
        shares, room = [], self._n_batch - len(streams)
        if self.prefilling:  # forced tokens and right guesses could fill batch after batch
            room -= min(LEAST_CHUNK, -(-room // 2))
        for place, sequence in enumerate(streams):
            slot, left = sequence.slot, len(streams) - place
            tokens = sequence.pending[: min(1 + MOST_FORCED, 1 + room, slot.room)]
            is_whole = len(tokens) == len(sequence.pending)
            # What is left is shared out evenly among those that come.
            guesses = min((room - len(tokens) + 1) // left, outputs // left) if is_whole else 0
            sequence.draft = sequence.draft[: max(guesses, 0)]
            known = len(tokens) if is_whole else None
            row = batch.add_stream([*tokens, *sequence.draft], slot.position, slot.id, known)
            shares.append(Share(sequence, tokens, row))
            room -= len(tokens) + len(sequence.draft) - 1
            outputs -= len(sequence.draft)
        return shares

    def _plan_prompts(self, batch: Batch, prompts: list[Sequence], room: int, outputs: int) -> list[Chunk]:
        """Add chunks of prompts: of those soon done, up to half of the room, then of all in order of start."""
        oldest, *others = prompts
        passing = sorted((each for each in others if each.left * SHORT <= oldest.left), key=lambda each: each.left)
        chunks, spare = [], room // 2
        for sequence in [*passing, *(each for each in prompts if each not in passing)]:
            slot, prompt, wants_all = sequence.slot, sequence.prompt, sequence.wants_prompt_logprobs
            most = min(spare, room) if sequence in passing else room
            stop = self._cache.next_stop(slot, len(prompt), alone=self.is_lone)
            end = slot.length + (min(most, outputs) if wants_all else most)
            if self._cache.grain is not None and self.is_lone:
                end = self._cache.grain.end(slot.length, room, len(prompt))
                end = slot.length + self._cache.grain.most if sequence.is_anew else end
            tokens = prompt[slot.length : min(end, stop, sequence.text_end)]
            if not len(tokens):
                continue
            is_last = slot.length + len(tokens) == len(prompt)
            last = batch.add_chunk(tokens, slot.position, slot.id, is_last=is_last, wants_all=wants_all)
            chunks.append(Chunk(sequence, tokens, last))
            room -= len(tokens)
            spare -= len(tokens)
            outputs -= len(tokens) if wants_all else 0
        return chunks

    def narrow(self, prompt_tokens: int) -> bool:
        """Plan fewer prompt tokens after that many did not fit; return whether that is possible."""
        if not self.prefilling or prompt_tokens <= 1:
            return False
        self._most = prompt_tokens // 2
        return True

    def widen(self) -> None:
        """Plan as many prompt tokens again as the pace allows."""
        self._most = None

    def newest(self) -> Sequence:
        """Return what runs that was started last."""
        return self._all()[-1]

    def commit(self, chunk: Chunk) -> bool:
        """Record that a chunk was computed; return whether it was the prompt's last, to be sampled from."""
        sequence = chunk.sequence
        slot = sequence.slot
        if chunk.tokens[0] < 0:
            slot.extend_with_image(chunk.tokens)
        else:
            slot.extend(chunk.tokens, alone=self.is_lone)
        if not sequence.images or whole(slot.tokens, slot.length) == slot.length:
            self._cache.note(slot, len(sequence.prompt), alone=self.is_lone)
        if sequence.slot.length < len(sequence.prompt):
            return False
        self.prefilling.remove(sequence)
        self.decoding.append(sequence)
        return True

    def _all(self) -> list[Sequence]:
        return [*self.decoding, *self.prefilling]
