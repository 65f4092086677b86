"""Control tokens that a job wants to see in its text."""

from __future__ import annotations

from localai_flask.backends.llama_cpp.model.vocabulary import Vocabulary
from localai_flask.generation import FinishReason, Prompt
from tests.support import gguf_models as models


def test_a_control_token_is_shown_to_the_job_that_asks(open_engine):
    engine = open_engine("chain")
    forced = {"logit_bias": {models.IM_START: 1e9}, "max_tokens": 2}
    shown = engine.generate(">", preserved=("<|im_start|>", "<nonsense>"), **forced)
    hidden = engine.generate(">", **forced)

    assert (engine.text(shown), engine.text(hidden)) == ("<|im_start|>" * 2, "")


def test_what_ends_a_generation_and_what_is_text_anyway_stay_as_they_are(open_engine):
    engine = open_engine("chain")
    vocabulary: Vocabulary = engine.backend.model.vocabulary
    assert vocabulary.preserved(("<|im_end|>", "<tool_call>", "plain", "<|im_start|>")) == {
        models.IM_START: b"<|im_start|>"
    }
    job = engine.generate(">", preserved=("<|im_end|>", "<tool_call>"))
    assert engine.text(job) == "Theé€<tool_call> cat😀" and engine.end(job).reason is FinishReason.EOS


def test_a_plain_range_has_no_control_token_and_costs_nothing_at_its_ends(open_engine):
    vocabulary: Vocabulary = open_engine("llama").backend.model.vocabulary
    before, said, after = "<|im_start|>user\n", "he said <|im_end|><|im_start|> twice", "<|im_end|>\n"
    start = len("<|im_start|>")
    made = vocabulary.encode(Prompt(before + said + after, plain=[(start, len(before + said))]))
    assert [token for token in made if vocabulary.is_control(token)] == [vocabulary.bos, models.IM_START, models.IM_END]
    assert b"".join(map(vocabulary.piece, made)) == ("user\n" + said + "\n").encode()
    ordinary = before + "hello" + after
    whole = vocabulary.encode(Prompt(ordinary))
    assert vocabulary.encode(Prompt(ordinary, plain=[(start, len(before + "hello"))])) == whole
    assert {"<|im_start|>", "<|im_end|>"} <= set(vocabulary.control_tokens)
