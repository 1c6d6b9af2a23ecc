"""A3-A10: bodies that are not JSON, or JSON that is made to hurt; each a 400, none a stall."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runestone_testing.stand import Stand, planted, standing

if TYPE_CHECKING:
    import httpx

HERE = Path(__file__).parent
JSON = {"content-type": "application/json"}
GOOD = json.dumps(planted()).encode()
STALL_S = 0.05  # of CPU


def with_field(name: bytes, value: bytes) -> bytes:
    """A chat request that is fine but for one field."""
    return GOOD[:-1] + b',"%b":%b}' % (name, value)


async def post(stand: Stand, content: bytes) -> httpx.Response:
    return await stand.client.post("/chat/completions", content=content, headers=JSON)


# --- made to hurt

BOMBS = [
    pytest.param(b"[" * 100_000, id="A3-100k-arrays-alone"),
    pytest.param(b'{"a":' * 100_000, id="A3-100k-objects-alone"),
    pytest.param(with_field(b"x", b"[" * 100_000), id="A3-100k-arrays"),
    pytest.param(with_field(b"x", b'{"a":' * 100_000), id="A3-100k-objects"),
    pytest.param(with_field(b"x", b"[" * 100_000 + b"]" * 100_000), id="A3-100k-closed"),
    pytest.param(with_field(b"x", b"[" * 2000 + b"]" * 2000), id="A3-2000-closed"),
    pytest.param(with_field(b"seed", b"9" * 1_000_000), id="A4-1-MB-number"),
    pytest.param(with_field(b"seed", b"0." + b"9" * 1_000_000 + b"x"), id="A4-1-MB-fraction"),
    pytest.param(with_field(b"seed", b"9" * 5000), id="A4-5000-digits"),
    pytest.param(with_field(b"seed", b"-" + b"9" * 5000), id="A4-minus-5000-digits"),
    pytest.param(with_field(b"temperature", b"1e999"), id="A4-1e999"),
    pytest.param(with_field(b"temperature", b"-1e999"), id="A4-minus-1e999"),
    pytest.param(with_field(b"temperature", b"1e" + b"9" * 100_000), id="A4-huge-exponent"),
]


@pytest.mark.parametrize("content", BOMBS)
async def test_what_is_made_to_hurt_does_not(stand: Stand, content: bytes) -> None:
    took_s: list[float] = []
    for _ in range(3):  # the machine may be busy: the least of three
        began_s = time.process_time()
        answer = await post(stand, content)
        took_s.append(time.process_time() - began_s)
        stand.refused(answer, 400)
    assert min(took_s) < STALL_S
    assert stand.provider.requests == []


async def test_A3_the_depth_of_the_interpreter_does_not_matter(stand: Stand) -> None:
    """What the decoder takes is forwarded; one level more is refused; nothing of ours recurses."""
    for depth, status in ((10, 200), (250, 200), (1022, 200), (1025, 400)):
        answer = await post(stand, with_field(b"metadata", b"[" * depth + b"]" * depth))
        assert answer.status_code == status, depth


# --- text

NOT_TEXT = [
    pytest.param(with_field(b"x", b'"\xff\xfe"'), id="A5-invalid-utf-8"),
    pytest.param(with_field(b"x", b'"\xc0\xaf"'), id="A5-overlong"),
    pytest.param(with_field(b"x", b'"\xed\xa0\x80"'), id="A5-surrogate-in-utf-8"),
    pytest.param(with_field(b"x", b'"\xf4\x90\x80\x80"'), id="A5-beyond-unicode"),
    pytest.param(with_field(b"x", b'"\\ud800"'), id="A5-lone-surrogate"),
    pytest.param(with_field(b"x", b'"\\udc00\\ud800"'), id="A5-surrogates-swapped"),
    pytest.param(with_field(b"\\ud800", b"1"), id="A5-lone-surrogate-in-a-key"),
    pytest.param(GOOD.decode().encode("utf-16"), id="A5-utf-16"),
    pytest.param(GOOD.decode().encode("utf-16-le"), id="A5-utf-16-le"),
    pytest.param(GOOD.decode().encode("utf-16-be"), id="A5-utf-16-be"),
    pytest.param(GOOD.decode().encode("utf-32"), id="A5-utf-32"),
    pytest.param(b"\xef\xbb\xbf" + GOOD, id="A5-bom"),
    pytest.param(with_field(b"temperature", b"NaN"), id="A6-nan"),
    pytest.param(with_field(b"temperature", b"Infinity"), id="A6-infinity"),
    pytest.param(with_field(b"temperature", b"-Infinity"), id="A6-minus-infinity"),
    pytest.param(with_field(b"temperature", b"nan"), id="A6-lower-case"),
    pytest.param(b"", id="A9-empty"),
    pytest.param(b" \r\n\t", id="A9-blank"),
    pytest.param(b"null", id="A9-null"),
    pytest.param(b"[]", id="A9-array"),
    pytest.param(b'"text"', id="A9-string"),
    pytest.param(b"1", id="A9-number"),
    pytest.param(b"true", id="A9-true"),
    pytest.param(GOOD + b"x", id="A9-trailing-garbage"),
    pytest.param(GOOD + GOOD, id="A9-twice"),
    pytest.param(GOOD + b"\x00", id="A9-trailing-nul"),
    pytest.param(GOOD[:-1], id="A9-cut"),
    pytest.param(b"{}", id="A9-empty-object"),
]


@pytest.mark.parametrize("content", NOT_TEXT)
async def test_what_is_no_json_object_is_refused(stand: Stand, content: bytes) -> None:
    stand.refused(await post(stand, content), 400)
    assert stand.provider.requests == []


async def test_A5_what_is_valid_arrives_byte_for_byte(stand: Stand) -> None:
    text = '"\\ud83d\\ude00 \U0001f600 \u2028 \\/ \x7f \ufdd0 \uffff é"'.encode()
    content = with_field(b"user", text)
    assert (await post(stand, content)).status_code == 200
    assert text in stand.provider.requests[0].body


async def test_A5_letters_written_by_their_number_arrive_as_they_were(stand: Stand) -> None:
    content = with_field(b"user", rb'"caf\u00e9"')[:-1] + b',"seed":18446744073709551617}'
    assert (await post(stand, content)).status_code == 200
    assert stand.provider.requests[0].body == content


# --- meaning

TWICE = [
    pytest.param(b'{"model":"secret",' + GOOD[1:], id="A7-other-first"),
    pytest.param(b'{"mod\\u0065l":"secret",' + GOOD[1:], id="A7-escaped-first"),
    pytest.param(with_field(b"model", b'"gpt-4o-mini"'), id="A7-same-again"),
    pytest.param(with_field(b"mod\\u0065l", b'"gpt-4o-mini"'), id="A7-escaped-again"),
]


@pytest.mark.parametrize("content", TWICE)
async def test_the_model_that_is_authorized_is_the_one_forwarded(
    stand: Stand, content: bytes
) -> None:
    answer = await post(stand, content)
    if answer.status_code == 200:
        assert models_in(stand.provider.requests[0].body) == ["gpt-4o-mini"]
    else:
        stand.refused(answer, 400)


async def test_A7_the_last_model_of_two_is_the_one_refused(stand: Stand) -> None:
    answer = await post(stand, with_field(b"model", b'"secret"'))
    assert answer.status_code in {400, 404}
    assert stand.provider.requests == []


def models_in(body: bytes) -> list[Any]:
    """All that a provider could take for the model, whichever of two its parser prefers."""
    found: list[Any] = []

    def read(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found.extend(value for name, value in pairs if name == "model")
        return dict(pairs)

    json.loads(body, object_pairs_hook=read)
    return found


WRONG_TYPES = [
    pytest.param("model", ["gpt-4o-mini"], "model", id="A8-model-list"),
    pytest.param("model", None, "model", id="A8-model-null"),
    pytest.param("model", "", "model", id="A8-model-empty"),
    pytest.param("model", "x" * 300, "model", id="A8-model-long"),
    pytest.param("messages", "hello", "messages", id="A8-messages-string"),
    pytest.param("messages", [], "messages", id="A8-messages-empty"),
    pytest.param("messages", {}, "messages", id="A8-messages-object"),
    pytest.param("messages", ["hello"], "messages[0]", id="A8-message-string"),
    pytest.param("messages", [{"content": "x"}], "messages[0]", id="A8-message-no-role"),
    pytest.param("messages", [{"role": 1}], "messages[0]", id="A8-role-number"),
    pytest.param("stream", "true", "stream", id="A8-stream-string"),
    pytest.param("stream", 1, "stream", id="A8-stream-number"),
    pytest.param("max_tokens", -1, "max_tokens", id="A8-max-tokens-minus"),
    pytest.param("max_tokens", 0, "max_tokens", id="A8-max-tokens-zero"),
    pytest.param("max_tokens", 1.5, "max_tokens", id="A8-max-tokens-half"),
    pytest.param("max_tokens", True, "max_tokens", id="A8-max-tokens-true"),
    pytest.param("max_tokens", "5", "max_tokens", id="A8-max-tokens-string"),
    pytest.param("max_completion_tokens", 10**20, "max_completion_tokens", id="A8-max-huge"),
    pytest.param("n", 0, "n", id="A8-n-zero"),
    pytest.param("n", 10**12, "n", id="A8-n-huge"),
    pytest.param("n", 10**9, "n", id="A8-n-1e9"),
    pytest.param("n", "2", "n", id="A8-n-string"),
    pytest.param("tools", {}, "tools", id="A8-tools-object"),
    pytest.param("stream_options", [], "stream_options", id="A8-stream-options-list"),
]


@pytest.mark.parametrize(("field", "value", "param"), WRONG_TYPES)
async def test_a_field_of_another_type_is_named(
    stand: Stand, field: str, value: object, param: str
) -> None:
    stand.refused(await stand.chat(**{field: value}), 400, param=param)
    assert stand.provider.requests == []


# --- the JSON test suite


def suite(kind: str) -> list[Any]:
    cases = json.loads((HERE / "data/json_test_suite.json").read_text())["cases"]
    return [
        pytest.param(_bytes_of(case), id=f"A10-{name}")
        for name, case in cases.items()
        if name.startswith(kind)
    ]


def _bytes_of(case: str | list[Any]) -> bytes:
    if isinstance(case, str):
        return case.encode("latin-1")
    unit, times, rest = case
    return str(unit).encode() * int(times) + str(rest).encode()


def test_A10_the_suite_is_whole() -> None:
    assert [len(suite(kind)) for kind in ("n_", "y_", "i_")] == [188, 95, 35]


async def test_A10_what_is_no_json_is_refused(tmp_path: Path) -> None:
    async with standing(tmp_path) as stand:
        for case in suite("n_"):
            (content,) = case.values
            stand.refused(await post(stand, content), 400)  # alone
            inside = with_field(b"metadata", content)
            if _is_json_for_python(inside):
                continue  # e.g. what is wrong only where nothing follows it
            stand.refused(await post(stand, inside), 400)
        assert stand.provider.requests == []


async def test_A10_what_is_json_is_accepted_and_forwarded_unchanged(tmp_path: Path) -> None:
    async with standing(tmp_path) as stand:
        for case in suite("y_"):
            (content,) = case.values
            answer = await post(stand, with_field(b"metadata", content))
            assert answer.status_code == 200, (case.id, answer.text)
            assert_unchanged(content, stand.provider.requests[-1].body)
            stand.refused(await post(stand, content), 400)  # alone it is no chat request


async def test_A10_what_is_left_open_is_refused_or_forwarded_unchanged(tmp_path: Path) -> None:
    async with standing(tmp_path) as stand:
        for case in suite("i_"):
            (content,) = case.values
            before = len(stand.provider.requests)
            answer = await post(stand, with_field(b"metadata", content))
            if answer.status_code == 200:
                assert_unchanged(content, stand.provider.requests[-1].body)
            else:
                stand.refused(answer, 400)
                assert len(stand.provider.requests) == before
            stand.refused(await post(stand, content), 400)


def assert_unchanged(content: bytes, forwarded: bytes) -> None:
    """Byte for byte, but for an escape in which a second model could be spelled."""
    if b"\\u00" in content:
        assert json.loads(forwarded)["metadata"] == json.loads(content)
    else:
        assert b'"metadata":' + content + b"}" in forwarded


def _is_json_for_python(data: bytes) -> bool:
    """Its decoder takes NaN, and nothing else that is no JSON."""
    try:
        json.loads(data.decode())
    except (ValueError, RecursionError):
        return False
    return b"NaN" not in data and b"Infinity" not in data
