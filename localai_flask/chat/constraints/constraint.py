"""From what a request asks of an answer's form to the one constraint that an engine enforces.

Pure. A form that cannot be expressed is refused here by name; whether an engine can keep a schema's every keyword, the
engine says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from localai_flask.chat.constraints.argument_rules import ANY, TERMINALS
from localai_flask.chat.constraints.call_grammar import CallGrammar, json_form, preface
from localai_flask.chat.constraints.lark import Expression, Grammar, Literal, Regex, choice, optional, sequence
from localai_flask.chat.conversation import Conversation, Tool
from localai_flask.chat.formats import ToolFormat
from localai_flask.chat.formats.notation import Notation, PlainText, TextPlace
from localai_flask.chat.output.reasoning_marks import Reasoning
from localai_flask.config.functions import FunctionOptions
from localai_flask.config.model import ModelConfig
from localai_flask.errors import InvalidRequest, UnsupportedParameter
from localai_flask.generation import Constraint, ModelInfo

__all__ = ["Wanted", "answer_constraint", "can_constrain_calls", "json_form", "with_default_form", "with_no_action"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a request asks: the form of the text, and of the calls.

    With `must_call` the answer is calls and nothing else. `asked_by` is the field that wants calls to be enforced, ""
    if none does.
    """

    form: Constraint | None = None
    must_call: bool = False
    asked_by: str = ""

    @property
    def field(self) -> str:
        """The field of the request that cannot be honoured without a constraint; "" if all can."""
        return self.asked_by or (self.form.param if self.form else "")


def with_default_form(wanted: Wanted, config: ModelConfig) -> Wanted:
    """Put the grammar of the model's YAML in place where a request asks for no form of its own."""
    if wanted.form is not None or not config.grammar:
        return wanted
    return dataclasses.replace(wanted, form=Constraint("gbnf", config.grammar, "grammar"))


def with_no_action(conversation: Conversation, wanted: Wanted, options: FunctionOptions) -> Conversation:
    """Add the pseudo-function by which a model answers plainly that is held to calls by its YAML."""
    grammar = options.grammar
    free = grammar.mixed_mode or grammar.triggers or grammar.schema_type == "llama3.1"
    asked = wanted.must_call or wanted.form is not None or wanted.asked_by
    if not options.is_json or free or asked or options.disable_no_action or not conversation.tools:
        return conversation
    name = options.no_action_function_name
    while name in {tool.name for tool in conversation.tools}:
        name += "_"
    schema = {"type": "object", "properties": {"message": {"type": "string"}}, "required": ["message"]}
    tool = Tool(name=name, description=options.no_action_description_name, parameters=schema)
    return dataclasses.replace(conversation, tools=(*conversation.tools, tool), no_action=name)


def answer_constraint(
    wanted: Wanted,
    info: ModelInfo,
    tools: Sequence[Tool] = (),
    form: ToolFormat | None = None,
    reasoning: Reasoning | None = None,
    once: bool = False,
) -> Constraint | None:
    """Return the constraint for an answer by a model that writes calls in this format (None: it has no tools).

    `reasoning` is how it thinks before; with `once`, one call at most is allowed. Where an engine takes a form as it is
    but no grammar around it, the answer is the form alone, without a thought. Raises `InvalidRequest` or
    `UnsupportedParameter`.
    """
    constraint = _wanted_constraint(wanted, tools, form, reasoning, once) if _takes_forms(info) else None
    if constraint is not None and _is_taken(constraint, info):
        return constraint
    is_opened = reasoning is not None and reasoning.opened is not None
    if wanted.form is not None and not tools and not is_opened and _is_taken(wanted.form, info):
        return wanted.form
    if wanted.field and (constraint is not None or not _takes_forms(info)):
        raise _unsupported(wanted.field, info)
    return None


def _wanted_constraint(
    wanted: Wanted, tools: Sequence[Tool], form: ToolFormat | None, reasoning: Reasoning | None, once: bool
) -> Constraint | None:
    """Return what the request wants of any engine."""
    if form is None or not tools:
        return wanted.form and _form_alone(wanted.form, form.notation if form else None, reasoning)
    notation = form.notation
    if notation is None:
        if wanted.field:
            raise UnsupportedParameter(
                f"`{wanted.field}` needs calls to be enforced, which is not possible in the way this model writes them "
                f"({form.name}); leave it out.",
                param=wanted.field,
            )
        return None
    if wanted.form is not None and wanted.form.kind != "json_schema":
        raise InvalidRequest(
            f"`{wanted.form.param}` is not possible together with `tools`; send one of them.", param=wanted.form.param
        )
    calls = CallGrammar(notation, tools, wanted.must_call, once)
    if wanted.form is None and not wanted.must_call and notation.trigger:
        rule = calls.behind(notation.trigger)
        return calls.grammar.constraint(rule, "tools", trigger=notation.trigger, is_final=calls.once)
    answer = _behind_thinking(_whole(calls, wanted, reasoning), reasoning, calls.grammar)
    return calls.grammar.constraint(answer, wanted.field or "tools")


def can_constrain_calls(info: ModelInfo) -> bool:
    """Return whether an engine can hold answers to calls of tools."""
    return _takes_forms(info) and info.constraints >= {"lark", "parts"}


def _takes_forms(info: ModelInfo) -> bool:
    return "constrain" in info.capabilities


def _is_taken(constraint: Constraint, info: ModelInfo) -> bool:
    return _takes_forms(info) and constraint.needs <= info.constraints


def _unsupported(field: str, info: ModelInfo) -> UnsupportedParameter:
    return UnsupportedParameter(
        f"`{field}` asks for a form that the {info.backend} backend cannot hold this answer to; leave it out or choose "
        "a model of another backend, such as llama-cpp.",
        param=field,
    )


def _whole(calls: CallGrammar, wanted: Wanted, reasoning: Reasoning | None) -> Expression:
    """Bind the whole answer: to calls, or where they are not a must, to calls or text in its own form."""
    may_think = reasoning is not None and reasoning.may_begin
    rule = calls.whole(may_think, is_free=not wanted.must_call)
    if wanted.must_call:
        return rule
    if wanted.form is not None:
        text = _framed(calls.grammar.add_part("form", wanted.form), calls.notation, may_think, calls.grammar)
        return choice((text, rule))
    return rule if calls.notation.plain is None else _beside_text(rule, calls.notation.plain, calls.grammar)


def _beside_text(calls: Expression, plain: PlainText, grammar: Grammar) -> Expression:
    """Allow plain text in its place beside the calls."""
    text = optional(grammar.define("PLAIN", Regex(plain.pattern)))
    match plain.place:
        case TextPlace.INSTEAD:
            return choice((text, calls))
        case TextPlace.BEFORE:
            return sequence(text, optional(calls))
        case TextPlace.AROUND:
            return sequence(text, optional(calls), text)


def _form_alone(form: Constraint, notation: Notation | None, reasoning: Reasoning | None) -> Constraint:
    grammar = Grammar(TERMINALS)
    part = grammar.add_part("form", form)
    text = _framed(part, notation, reasoning is not None and reasoning.may_begin, grammar)
    answer = _behind_thinking(text, reasoning, grammar)
    return form if answer == part else grammar.constraint(answer, form.param)


def _framed(text: Expression, notation: Notation | None, may_think: bool, grammar: Grammar) -> Expression:
    """Allow the frame that some models write around text, behind which they may have thought."""
    if notation is None or not notation.text_head:
        return text
    head = grammar.define("HEAD", Regex(notation.text_head))
    plain = sequence(optional(head), text)
    thought = preface(notation, grammar) if may_think else ()
    return choice((plain, sequence(*thought, head, text))) if thought else plain


def _behind_thinking(answer: Expression, reasoning: Reasoning | None, grammar: Grammar) -> Expression:
    """Let a model think before its answer must have a form: to the end of what its prompt has begun, or if it likes."""
    if reasoning is None:
        return answer
    gap = grammar.define("GAP", Regex("[ \\n]{0,3}"))
    if reasoning.opened is not None:
        thinking = _up_to("thinking", reasoning.opened.end, grammar)
        return sequence(thinking, gap, grammar.define("answer", answer))
    if not reasoning.may_begin or not reasoning.pairs:
        return answer
    thoughts = [
        sequence(Literal(pair.start), _up_to(f"thought_{at}", pair.end, grammar))
        for at, pair in enumerate(reasoning.pairs)
    ]
    return sequence(optional(sequence(choice(thoughts), gap)), grammar.define("answer", answer))


def _up_to(name: str, end: str, grammar: Grammar) -> Expression:
    return grammar.define(name, sequence(ANY, Literal(end)), is_lazy=True)
