"""What templates see of their data, and that they change none of them."""

from __future__ import annotations

import dataclasses
import threading

import msgspec
import pytest

from localai_flask.gotemplate import TemplateError, parse


class Function(msgspec.Struct, rename={"Name": "name", "Parameters": "parameters"}, omit_defaults=True):
    Name: str
    Parameters: dict[str, object]
    Strict: bool = False


@dataclasses.dataclass(frozen=True)
class Point:
    x: int
    y: object

    @property
    def length(self) -> int:
        return self.x


def test_structs_show_their_fields_and_nothing_else() -> None:
    function = Function("f", {"b": 1, "a": "x"})
    template = parse("{{.Name}} {{.Parameters.a}} {{.}} {{toJson .}}")
    assert template.render(function) == 'f x {f map[a:x b:1] false} {"name":"f","parameters":{"a":"x","b":1}}'
    assert parse('{{.x}} {{printf "%+v" .}} {{toJson .}}').render(Point(1, None)) == '1 {x:1 y:<nil>} {"x":1,"y":null}'
    for field in ("length", "__class__", "Y"):
        with pytest.raises(TemplateError, match="no field"):
            parse(f"{{{{.{field}}}}}").render(Point(1, 2))


@pytest.mark.parametrize("data", [{"x": object()}, {"x": b"bytes"}, {1: 2}, {"x": {3}}, {"x": print}, {"x": Point}])
def test_other_data_are_refused(data: object) -> None:
    with pytest.raises(TemplateError, match="the data hold"):
        parse("x").render(data)


def test_python_attributes_are_out_of_reach() -> None:
    data = {"s": "x", "l": [1], "m": {}}
    for path in (".s.upper", ".l.append", ".s.__class__", "$.l.__len__"):
        with pytest.raises(TemplateError, match="no field"):
            parse("{{" + path + "}}").render(data)
    assert parse("{{.m.__class__}}{{.m.keys}}").render(data) == "<no value><no value>"


def test_the_callers_data_stay_as_they_are() -> None:
    data = {"m": {"a": 1, "inner": {"b": 2}}, "l": [{"c": 3}]}
    template = parse(
        '{{$_ := set .m "a" 2}}{{$_ = unset .m.inner "b"}}{{$_ = merge (index .l 0) (dict "d" 4)}}{{.m}}{{.l}}'
    )
    assert template.render(data) == "map[a:2 inner:map[]][map[c:3 d:4]]"
    assert template.render(data) == "map[a:2 inner:map[]][map[c:3 d:4]]"
    assert data == {"m": {"a": 1, "inner": {"b": 2}}, "l": [{"c": 3}]}


def test_one_template_serves_many_threads() -> None:
    template = parse("{{$sum := 0}}{{range until .n}}{{$sum = add $sum .}}{{end}}{{$sum}}")
    wrong = []

    def work(n: int) -> None:
        wrong.extend(n for _ in range(20) if template.render({"n": n}) != str(n * (n - 1) // 2))

    threads = [threading.Thread(target=work, args=(n,)) for n in (10, 50, 90)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
