"""Sixty JSON Schemas: each is kept by fifty random answers, or refused by name."""

from __future__ import annotations

import json

import pytest

from localai_flask.generation import FinishReason
from tests.engine.test_llama_cpp_constraint import CHECKER, REFUSED, SCHEMAS, closed, schema_of

jsonschema = pytest.importorskip("jsonschema")

TREE = {"type": "object", "properties": {"kids": {"type": "array", "items": {"$ref": "#"}, "maxItems": 2}}}
KEPT = [
    *SCHEMAS,
    {**TREE, "additionalProperties": False},
    closed(a={"type": "string", "format": "ipv4"}, b={"type": ["string", "null"], "maxLength": 3}),
    {"type": "array", "items": {"anyOf": [{"const": 1}, {"type": "array", "maxItems": 1}]}, "maxItems": 3},
    {"type": "object", "properties": {"t": {"prefixItems": [{"const": "x"}, {"type": "integer"}], "type": "array"}}},
    {"type": "string", "minLength": 1, "maxLength": 3, "pattern": "^[xyz]+$"},
    {"enum": [[1, 2], {"a": None}, "", False, 0]},
]
GENERATIONS = 50


def test_there_are_sixty() -> None:
    assert len(KEPT) + len(REFUSED) >= 60


@pytest.mark.timeout(300)
@pytest.mark.parametrize("schema", KEPT, ids=lambda schema: json.dumps(schema)[:60])
def test_fifty_random_answers_keep_to_the_schema(open_engine, schema) -> None:
    engine = open_engine("llama", "parallel:16", context_size=128)
    checker = jsonschema.Draft202012Validator(schema, format_checker=CHECKER)
    jobs = [
        engine.submit(
            f"{seed}", max_tokens=60, constraint=schema_of(schema), temperature=1.5, top_k=0, top_p=1.0, seed=seed
        )
        for seed in range(GENERATIONS)
    ]
    engine.run()
    whole = [engine.text(job) for job in jobs if engine.end(job).reason is FinishReason.EOS]
    for text in whole:
        checker.validate(json.loads(text))
    assert len(whole) >= 2
