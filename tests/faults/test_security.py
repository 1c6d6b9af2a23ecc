"""G8-G11. What a client or a provider may not slip through the gateway."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from runestone_testing import bundles, canaries
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import CHAT, gateway, question, raw_request
from runestone_testing.provider import json_reply, sse_reply
from runestone_testing.stand import Stand, planted, standing

if TYPE_CHECKING:
    from pathlib import Path

ELSEWHERE = "http://127.0.0.1:9/v1"
SECRET = "sk-tenants-own-4f4f4f4f4f4f4f4f"


@pytest.mark.parametrize(
    "name",
    ["api_base", "base_url", "api_key", "extra_headers", "user_config", "custom_llm_provider"],
    ids=lambda name: f"G8-{name}",
)
async def test_fields_of_a_body_never_choose_the_provider_or_its_key(
    tmp_path: Path, name: str
) -> None:
    value = {"authorization": f"Bearer {SECRET}"} if name == "extra_headers" else ELSEWHERE
    async with standing(tmp_path) as stand:
        assert (await stand.chat(**{name: value})).status_code == 200
        [request] = stand.provider.requests
        assert request.header("authorization") == f"Bearer {bundles.PROVIDER_KEY}"
        assert request.json()[name] == value  # a provider of the same dialect judges it itself


async def test_G8_another_dialect_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    def config(url: str) -> object:
        return bundles.config(
            bundles.provider(url.removesuffix("/v1"), dialect="Anthropic", models=("gpt-4o-mini",))
        )

    async with standing(tmp_path, config=config) as stand:  # type: ignore[arg-type]
        stand.refused(await stand.chat(api_base=ELSEWHERE), 400, param="api_base")
        assert stand.provider.requests == []
        stand.next_status = 502  # the stand's own answer is no Anthropic message


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("x-forwarded-for: 10.0.0.1", id="G9-x-forwarded-for"),
        pytest.param("x-forwarded-host: evil", id="G9-x-forwarded-host"),
        pytest.param("forwarded: for=10.0.0.1", id="G9-forwarded"),
        pytest.param("openai-organization: org-mine", id="G9-organization"),
        pytest.param("openai-project: proj-mine", id="G9-project"),
        pytest.param("x-api-key: sk-mine", id="G9-x-api-key"),
        pytest.param("cookie: a=b", id="G9-cookie"),
        pytest.param("te: trailers", id="G9-te"),
        pytest.param("proxy-authorization: Basic abcd", id="G9-proxy-authorization"),
        pytest.param("connection: x-internal\r\nx-internal: 1", id="G9-connection-names-it"),
        pytest.param("accept-encoding: gzip, br", id="G9-accept-encoding"),
        pytest.param("user-agent: a-client/1", id="G9-user-agent"),
        pytest.param("x-runestone-anything: 1", id="G9-our-own"),
        pytest.param("anthropic-beta: some-beta", id="G9-another-dialects"),
    ],
)
async def test_no_header_of_the_clients_reaches_the_provider(stand: Stand, line: str) -> None:
    wire = await stand.connect()
    wire.send(raw_request(line))
    assert (await wire.answer()).status_code == 200
    [request] = stand.provider.requests
    plain = await stand.chat()
    assert plain.status_code == 200
    kept = [pair for pair in request.headers if pair[0].lower() != "content-length"]
    usual = [
        pair for pair in stand.provider.requests[1].headers if pair[0].lower() != "content-length"
    ]
    assert kept == usual


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({"model": "gpt-4o-mini\r\nx-injected: 1"}, id="G10-model"),
        pytest.param({"model": 'x","level":"forged'}, id="G10-model-forges-a-line"),
        pytest.param({"model": "x\u2028y\u0000z"}, id="G10-model-separators"),
    ],
)
async def test_a_models_name_splits_no_header_and_no_log_line(
    stand: Stand, fields: dict[str, object]
) -> None:
    answer = await stand.chat(**fields)
    stand.refused(answer, 404, "model_not_found")
    assert "x-injected" not in answer.headers
    assert [line["status"] for line in stand.lines()] == [404]


async def test_G10_metadata_and_users_split_nothing(stand: Stand) -> None:
    answer = await stand.chat(metadata={"a\r\nb": "c\r\nd: e"}, user="u\r\nx-injected: 1")
    assert answer.status_code == 200
    assert "x-injected" not in answer.headers
    [request] = stand.provider.requests
    assert request.header("x-injected") is None
    assert request.json()["user"] == "u\r\nx-injected: 1"
    assert len(stand.lines()) == 1


@pytest.mark.parametrize(
    "given",
    ["a b", "é", 'x","level":"forged', "x" * 65, ""],
    ids=["G10-id-blank", "G10-id-foreign", "G10-id-forges", "G10-id-long", "G10-id-empty"],
)
async def test_a_request_id_that_is_not_fit_is_replaced(stand: Stand, given: str) -> None:
    wire = await stand.connect()
    wire.send(raw_request(f"x-request-id: {given}"))
    answer = await wire.answer()
    assert answer.headers["x-request-id"].startswith("req_")


FOREIGN = (
    ("set-cookie", "session=1"),
    ("location", "http://elsewhere/"),
    ("x-request-id", "of-the-provider"),
    ("openai-organization", "org-of-the-owner"),
    ("x-ratelimit-remaining-requests", "7"),
    ("server", "cloud"),
    ("alt-svc", 'h3=":443"'),
    ("strict-transport-security", "max-age=1"),
    ("access-control-allow-origin", "*"),
)


@pytest.mark.parametrize("stream", [False, True], ids=["G11-whole", "G11-stream"])
async def test_no_header_of_the_providers_reaches_the_client(stand: Stand, stream: bool) -> None:
    end = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    body = completion(canaries.ANSWER)
    stand.provider.answer = (
        sse_reply([end, "[DONE]"], headers=FOREIGN) if stream else json_reply(body, headers=FOREIGN)
    )
    answer = await stand.chat(stream=stream)
    assert answer.status_code == 200
    assert answer.headers["x-request-id"].startswith("req_")
    told = {name for name, _ in FOREIGN} - {"x-request-id"}
    assert told.isdisjoint(answer.headers)


@pytest.mark.parametrize("status", [301, 302, 307, 308], ids=lambda status: f"G11-{status}")
async def test_a_redirect_is_followed_nowhere_and_not_handed_on(
    tmp_path: Path, status: int
) -> None:
    async with scripts.Provider(json_reply(completion("elsewhere"))) as elsewhere:
        async with standing(tmp_path) as stand:
            to = [("location", f"{elsewhere.url}/v1{CHAT}")]
            stand.provider.answer = json_reply({}, status=status, headers=to)
            answer = await stand.chat()
            stand.refused(answer, 502)
            assert "location" not in answer.headers
        assert elsewhere.requests == []


async def test_G8_what_was_authorized_is_what_is_sent(stand: Stand) -> None:
    """A key twice in a body: the provider sees the one that the key was checked against."""
    body = json.dumps(planted()).replace('"model"', '"model": "forbidden-model", "model"', 1)
    headers = {"content-type": "application/json"}
    answer = await stand.client.post(CHAT, content=body, headers=headers)
    assert answer.status_code == 200
    assert stand.provider.requests[0].json()["model"] == "gpt-4o-mini"
    assert b"forbidden-model" not in stand.provider.requests[0].body


@pytest.mark.parametrize("status", [400, 404, 422, 429, 500])
@pytest.mark.parametrize("path", ["/chat/completions", "/moderations"])
async def test_G11_no_client_sees_a_providers_key_whatever_it_looks_like(
    tmp_path: Path, path: str, status: int
) -> None:
    secret = "0123456789abcdef0123456789abcdef"
    refusal = {"error": {"message": f"Subscription {secret} has no access.", "type": "x"}}
    async with scripts.Provider(json_reply(refusal, status=status)) as one:
        config = bundles.config(bundles.provider(f"{one.url}/v1"))
        async with gateway(tmp_path, config, {"cred-a": secret}) as found:
            asked = question(input="x") if path == "/moderations" else question()
            answer = await found.client.post(path, json=asked)
    assert secret not in answer.text
    assert answer.status_code >= 400
    assert f"Bearer {secret}" == one.requests[0].header("authorization")
