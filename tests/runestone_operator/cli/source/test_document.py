"""YAML as kubectl reads it, with lines; hostile text is refused, quickly."""

from __future__ import annotations

import json
import textwrap

import pytest

from runestone_operator.cli.source.document import UnreadableError, read_documents


def values(text: str) -> list[object]:
    return [node.plain() for node in read_documents(textwrap.dedent(text))]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("1", 1, id="integer"),
        pytest.param("-12", -12, id="negative"),
        pytest.param("0x1f", 31, id="hexadecimal"),
        pytest.param("0644", 420, id="octal"),
        pytest.param("1.5", 1.5, id="decimal"),
        pytest.param("1e3", 1000.0, id="exponent"),
        pytest.param("yes", True, id="yes"),
        pytest.param("OFF", False, id="off"),
        pytest.param("~", None, id="null"),
        pytest.param("", None, id="nothing"),
        pytest.param("'1'", "1", id="quoted"),
        pytest.param("!!str 1", "1", id="tagged as text"),
        pytest.param("2027-01-31T00:00:00Z", "2027-01-31T00:00:00Z", id="a time stays text"),
        pytest.param("1:30", "1:30", id="no base 60"),
        pytest.param("sk-test", "sk-test", id="text"),
    ],
)
def test_scalars_are_what_kubectl_takes_them_for(text: str, value: object) -> None:
    assert values(f"a: {text}\n") == [{"a": value}]


def test_one_file_holds_many_documents_and_empty_ones_do_not_count() -> None:
    assert values("---\na: 1\n---\n---\n# only a comment\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]


def test_json_is_read_too() -> None:
    assert values('{"a":\t[1, true, null, "x"]}') == [{"a": [1, True, None, "x"]}]


def test_json_escapes_letters_in_its_own_way() -> None:
    text = r'{"a": "\ud83d\ude00 \u003c \\ud83d\\ude00"}'

    assert values(text) == [json.loads(text)] == [{"a": "😀 < \\ud83d\\ude00"}]


def test_an_alias_stands_for_its_anchor_and_a_merge_fills_in_what_is_not_said() -> None:
    text = """\
        base: &base {retry: 1, wait: 2}
        one: {<<: *base, wait: 3}
        two: *base
        """
    filled = {"retry": 1, "wait": 3}
    assert values(text) == [
        {"base": {"retry": 1, "wait": 2}, "one": filled, "two": {"retry": 1, "wait": 2}}
    ]


def test_every_field_has_the_line_of_its_name() -> None:
    text = """\
        kind: ApiKey
        spec:
          limits:
            requestsPerMinute: 0
          models:
          - name: a
          - name: b
            cost: &cost
              input: 1
          - {name: c, cost: *cost}
        """
    (node,) = read_documents(textwrap.dedent(text))
    lines = {
        ("kind",): 1,
        ("spec", "limits"): 3,
        ("spec", "limits", "requestsPerMinute"): 4,
        ("spec", "models", 1): 7,
        ("spec", "models", 1, "cost", "input"): 9,
        ("spec", "models", 2, "cost"): 10,
        ("spec", "models", 2, "nothing", "of", 4, "this"): 10,
        ("status",): 1,
    }
    assert {location: node.line_of(location) for location in lines} == lines


def nested_aliases(levels: int, width: int) -> str:
    above = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(["a0: &a0 [x]", *above])


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        pytest.param("a: 1\nb: 2\na: 3", 3, '"a" is given twice, first on line 1', id="twice"),
        pytest.param("a: 1\nb: [", 3, "not valid YAML", id="unfinished"),
        pytest.param("a: b: c", 1, "not valid YAML: mapping values are not allowed", id="colons"),
        pytest.param("a:\n\t- b", 2, "not valid YAML", id="tab"),
        pytest.param("a: \x07", 1, "characters that no text has", id="control character"),
        pytest.param("[" * 100_000, 1, "nested more than 64 levels deep", id="deep"),
        pytest.param(nested_aliases(70, 1), 64, "nested more than 64", id="deep by aliases"),
        pytest.param(nested_aliases(20, 9), 6, "aliases expand to more", id="bomb"),
        pytest.param("a: &x [*x]", 1, "stands inside of what it stands for", id="endless"),
        pytest.param("a: *x", 1, "the alias *x stands for nothing above it", id="no anchor"),
        pytest.param("a: 1\n? [b]\n: 2", 2, "the name of a field must be text", id="list as name"),
        pytest.param("a: &b c\n*b : 2", 2, "the name of a field must be text", id="alias as name"),
        pytest.param("<<: 3", 1, "<< takes a map", id="merge of a number"),
        pytest.param(
            "a: !!python/object/apply:os.system [echo]", 1, "has no meaning here", id="object"
        ),
        pytest.param("a: !secret b", 1, "the tag !secret has no meaning here", id="own tag"),
    ],
)
@pytest.mark.timeout(10)
def test_what_cannot_be_meant_is_refused_with_its_line(text: str, line: int, message: str) -> None:
    with pytest.raises(UnreadableError) as refused:
        list(read_documents(text))

    assert message in refused.value.message
    assert refused.value.line == line


def test_what_came_before_the_mistake_is_read() -> None:
    documents = read_documents("a: 1\n---\nb: [")

    assert next(documents).plain() == {"a": 1}
    with pytest.raises(UnreadableError):
        next(documents)
