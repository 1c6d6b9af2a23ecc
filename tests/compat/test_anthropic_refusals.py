"""What Anthropic's SDK raises for refusals, a provider's and the gateway's own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anthropic
import httpx
import pytest

from runestone_testing import bundles
from runestone_testing.model_refusing import refused_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from anthropic.types import MessageParam

    from runestone_testing.model import Model
    from runestone_testing.sidecar import Sidecar

CLAUDE = "claude-haiku-4-5"
GPT = "gpt-4o-mini"
HI: list[MessageParam] = [{"role": "user", "content": "hi"}]


@pytest.fixture
def client(sidecar: Sidecar) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(
        base_url=sidecar.api, api_key=bundles.CLIENT_KEY, max_retries=0
    ) as found:
        yield found


@pytest.mark.parametrize("dialect", ["anthropic", "openai"], ids="onto-{}".format)
@pytest.mark.parametrize(
    ("status", "type_", "error"),
    [
        pytest.param(400, "invalid_request_error", anthropic.BadRequestError, id="400"),
        pytest.param(401, "authentication_error", anthropic.InternalServerError, id="401-is-502"),
        pytest.param(422, "invalid_request_error", anthropic.UnprocessableEntityError, id="422"),
        pytest.param(429, "rate_limit_error", anthropic.RateLimitError, id="429"),
        pytest.param(500, "api_error", anthropic.InternalServerError, id="500"),
    ],
)
def test_a_providers_refusal_is_the_sdks_exception(
    client: anthropic.Anthropic,
    provider: Model,
    dialect: str,
    status: int,
    type_: str,
    error: type[anthropic.APIStatusError],
) -> None:
    provider.refuse(status, "The provider says no.", type_=type_)
    with pytest.raises(error) as refused:
        client.messages.create(model=refused_name(dialect, status), max_tokens=9, messages=HI)
    body: Any = refused.value.body
    assert body["type"] == "error"
    assert body["error"]["message"]
    assert refused.value.request_id
    assert bundles.PROVIDER_KEY not in str(refused.value)


def test_refusals_of_the_gateways_own(client: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        client.messages.create(model="claude-99", max_tokens=9, messages=HI)
    with pytest.raises(anthropic.AuthenticationError):
        client.with_options(api_key="sk-rs-wrong").messages.create(
            model=CLAUDE, max_tokens=9, messages=HI
        )
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model=GPT, max_tokens=9, messages=[])


def test_refusals_at_urls_that_other_apis_have_as_well(client: anthropic.Anthropic) -> None:
    stranger = client.with_options(api_key="sk-rs-wrong")
    asked: list[tuple[Callable[[], object], type[anthropic.APIStatusError], str]] = [
        (stranger.models.list, anthropic.AuthenticationError, "authentication_error"),
        (lambda: client.models.retrieve("claude-99"), anthropic.NotFoundError, "not_found_error"),
        (client.messages.batches.list, anthropic.NotFoundError, "not_found_error"),
        (
            lambda: client.post("/v1/models", cast_to=object),
            anthropic.APIStatusError,
            "invalid_request_error",
        ),
        (
            lambda: client.get("/v1/files/%00", cast_to=object),
            anthropic.NotFoundError,
            "not_found_error",
        ),
    ]
    for ask, error, kind in asked:
        with pytest.raises(error) as refused:
            ask()
        assert refused.value.type == kind
        assert refused.value.api_message
        assert refused.value.request_id


def test_openais_clients_get_openais_refusals_there(sidecar: Sidecar) -> None:
    for path in ("/models/gpt-99", "/messages/batches"):
        key = {"authorization": f"Bearer {bundles.CLIENT_KEY}"}
        answer = httpx.get(sidecar.base_url + path, headers=key, trust_env=False)
        assert answer.status_code == 404
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert "type" not in answer.json()
