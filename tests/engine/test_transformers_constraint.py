"""Constraints in the transformers engine: what random weights say has the form asked for, or the form is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

torch = pytest.importorskip("torch")
pytest.importorskip("transformers")
jsonschema = pytest.importorskip("jsonschema")

from localai_flask.backends.base import Job  # noqa: E402
from localai_flask.backends.transformers.engine import TransformersBackend  # noqa: E402
from localai_flask.config.blocks import Parameters  # noqa: E402
from localai_flask.config.model import ModelConfig  # noqa: E402
from localai_flask.errors import InvalidRequest  # noqa: E402
from localai_flask.generation import Constraint, Delta, Failed, Finished, FinishReason, Prompt, ThinkingBudget  # noqa: E402
from localai_flask.sampling_params import SamplingParams  # noqa: E402
from tests.support import hf_models  # noqa: E402
from tests.support.fronted import Fronted  # noqa: E402

PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 6}, "age": {"type": "integer", "minimum": 0, "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}
SCHEMAS = [
    PERSON,
    {"enum": ["red", "é", 3, None]},
    {
        "type": "array",
        "items": {"$ref": "#/$defs/p"},
        "minItems": 1,
        "maxItems": 2,
        "$defs": {"p": {"type": "boolean"}},
    },
    {"type": "string", "pattern": "^[a-f]{3}-[0-9]{2}$"},
    {"anyOf": [{"type": "null"}, {"type": "number", "minimum": 0, "maximum": 1}]},
]


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fronted]:
    folder = hf_models.make_model(tmp_path_factory.mktemp("models") / "tiny")
    backend = Fronted(TransformersBackend())
    config = ModelConfig(name="tiny", parameters=Parameters(model="tiny"), models_path=str(folder.parent))
    backend.load(config, lambda done: None)
    yield backend
    backend.close()


def run(backend: Fronted, *params: SamplingParams) -> list[tuple[str, Finished | Failed]]:
    """Run one job for each set of parameters and give its text and its end."""
    texts = [""] * len(params)
    ends: dict[int, Finished | Failed] = {}
    for number, each in enumerate(params):
        backend.submit(Job(number, Prompt("The dog"), each))
    while len(ends) < len(params):
        for number, reply in backend.step():
            if isinstance(reply, Delta):
                texts[number] += reply.text
            elif isinstance(reply, Finished | Failed):
                ends[number] = reply
    return [(texts[number], ends[number]) for number in range(len(params))]


def schema(value: object) -> Constraint:
    return Constraint("json_schema", json.dumps(value), "response_format")


@pytest.mark.parametrize("form", SCHEMAS, ids=lambda form: json.dumps(form)[:40])
def test_random_weights_keep_to_a_schema(backend: Fronted, form: dict) -> None:
    tries = [
        SamplingParams(temperature=2.0, top_k=0, top_p=1.0, seed=seed, max_tokens=90, constraint=schema(form))
        for seed in range(8)
    ]
    greedy = SamplingParams(temperature=0.0, max_tokens=90, constraint=schema(form))
    whole = [text for text, end in run(backend, greedy, *tries) if end.reason is FinishReason.EOS]  # type: ignore[union-attr]
    assert len(whole) >= 4
    for text in whole:
        jsonschema.validate(json.loads(text), form)


@pytest.mark.parametrize("ignore_eos", [False, True])
@pytest.mark.parametrize(
    ("constraint", "pattern"),
    [
        (Constraint("regex", "[a-c]{3}(dog|cat) [0-9]{2,4}"), r"[a-c]{3}(dog|cat) [0-9]{2,4}"),
        (Constraint("gbnf", 'root ::= "<" w ("," w)? ">"\nw ::= [a-z] [a-z]'), "<[a-z]{2}(,[a-z]{2})?>"),
        (Constraint("lark", 'start: "x" @n\n', parts={"n": schema({"type": "boolean"})}), "x(true|false)"),
        (
            Constraint("lark", 'start: "x" @t "y"', parts={"t": Constraint("regex", r'["\n]{2}', end='"')}),
            r'x(\\"|\\n){2}"y',
        ),
    ],
)
def test_other_grammars(backend: Fronted, constraint: Constraint, pattern: str, ignore_eos: bool) -> None:
    tries = [
        SamplingParams(temperature=1.5, seed=seed, max_tokens=60, constraint=constraint, ignore_eos=ignore_eos)
        for seed in range(4)
    ]
    for text, end in run(backend, *tries):
        assert end.reason is FinishReason.EOS  # type: ignore[union-attr]
        assert re.fullmatch(pattern, text)


def test_a_trigger_arms_the_constraint(backend: Fronted) -> None:
    armed = Constraint("regex", "<[ab]{3}>", trigger="e")
    held = 0
    for text, _ in run(
        backend, *(SamplingParams(temperature=1.0, seed=s, max_tokens=60, constraint=armed) for s in range(6))
    ):
        pieces = text.split("e")[1:]
        if pieces and len(pieces[-1]) < len("<aaa>"):  # cut by the limit
            pieces.pop()
        assert all(re.match("<[ab]{3}>", piece) for piece in pieces)
        held += len(pieces)
    assert held >= 4


def test_neighbours_are_free(backend: Fronted) -> None:
    alone = run(backend, SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True))[0][0]
    both = run(
        backend,
        SamplingParams(temperature=0.0, max_tokens=12, ignore_eos=True),
        SamplingParams(temperature=0.0, max_tokens=12, constraint=schema({"type": "boolean"})),
    )
    assert both[0][0] == alone and both[1][0] in ("true", "false")


def test_a_form_that_cannot_be_kept_is_refused(backend: Fronted) -> None:
    for form in (schema({"not": {"type": "string"}}), Constraint("regex", "a(", "grammar")):
        with pytest.raises(InvalidRequest, match="cannot be enforced"):
            backend.submit(Job(1, Prompt("a"), SamplingParams(constraint=form)))
    assert backend.is_idle


def test_a_sequence_that_cannot_go_on_fails_alone(backend: Fronted) -> None:
    nothing = SamplingParams(
        temperature=0.0, logit_bias=dict.fromkeys(range(400), -float("inf")), constraint=schema({"type": "boolean"})
    )
    failed, fine = run(backend, nothing, SamplingParams(temperature=0.0, max_tokens=3, ignore_eos=True))
    assert isinstance(failed[1], Failed) and isinstance(fine[1], Finished)


@pytest.mark.parametrize("end", ["</t>", "\n</t>\n\n"])
@pytest.mark.parametrize("budget", [0, 5])
def test_thinking_ends_when_its_budget_is_used_up(backend, end, budget):
    params = SamplingParams(temperature=0.0, max_tokens=30, ignore_eos=True)
    limit = ThinkingBudget(budget, "<t>", end, is_open=True)
    ample, unasked = ThinkingBudget(99, "<t>", end, is_open=True), ThinkingBudget(budget, "<t>", end)
    (free, _), (held, last), (same, _), (too, _) = run(
        backend, params, *(replace(params, thinking=thinking) for thinking in (limit, ample, unasked))
    )

    said, mark, rest = held.partition(end)
    assert mark and rest and free.startswith(said) and bool(said) == bool(budget)
    assert last.usage.completion_tokens == 30
    assert same == too == free


def test_thinking_ends_when_that_is_said(backend):
    ample = ThinkingBudget(500, "<t>", "</t>", is_open=True)
    job = Job(1, Prompt("The dog"), SamplingParams(temperature=0.0, max_tokens=60, ignore_eos=True, thinking=ample))
    backend.submit(job)
    text, last = "", None
    while last is None:
        for _, reply in backend.step():
            text += reply.text if isinstance(reply, Delta) else ""
            last = reply if isinstance(reply, Finished | Failed) else last
        job.ends_thinking = job.ends_thinking or len(text) > 10
    said, mark, rest = text.partition("</t>")
    assert isinstance(last, Finished) and len(said) > 10 and mark and rest


def test_an_answer_behind_limited_thinking_has_its_form(backend):
    form = Constraint("json_schema", json.dumps(PERSON), "response_format", trigger="</t>", is_final=True)
    limit = ThinkingBudget(4, "<t>", "\n</t>\n\n", is_open=True)
    params = SamplingParams(temperature=1.0, seed=3, max_tokens=200, thinking=limit, constraint=form)
    [(text, last)] = run(backend, params)

    assert isinstance(last, Finished) and last.reason is FinishReason.EOS
    jsonschema.validate(json.loads(text.partition("</t>")[2]), PERSON)
