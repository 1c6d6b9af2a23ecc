"""What is refused, as OpenAI's SDK tells its program: its own exceptions, onto either dialect."""

from __future__ import annotations

from typing import TYPE_CHECKING

import openai
import pytest

from runestone_testing import bundles
from runestone_testing.model_refusing import refused_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openai.types.chat import ChatCompletionMessageParam

    from runestone_testing.model import Model
    from runestone_testing.sidecar import Sidecar

GPT = "gpt-4o-mini"
BUDGET = "claude-haiku-4-5"
ON_BOTH = pytest.mark.parametrize(
    "name", [pytest.param(GPT, id="onto-openai"), pytest.param(BUDGET, id="onto-anthropic")]
)


def said(text: str) -> list[ChatCompletionMessageParam]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def client(sidecar: Sidecar) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=sidecar.base_url, api_key=bundles.CLIENT_KEY, max_retries=0
    ) as found:
        yield found


@pytest.mark.parametrize("dialect", ["openai", "anthropic"], ids="onto-{}".format)
@pytest.mark.parametrize(
    ("status", "type_", "error"),
    [
        pytest.param(400, "invalid_request_error", openai.BadRequestError, id="400"),
        pytest.param(401, "authentication_error", openai.InternalServerError, id="401-is-502"),
        pytest.param(403, "permission_error", openai.InternalServerError, id="403-is-502"),
        pytest.param(422, "invalid_request_error", openai.UnprocessableEntityError, id="422"),
        pytest.param(429, "rate_limit_error", openai.RateLimitError, id="429"),
        pytest.param(500, "api_error", openai.InternalServerError, id="500"),
        pytest.param(529, "overloaded_error", openai.InternalServerError, id="529"),
    ],
)
def test_a_providers_refusal_is_the_sdks_exception(
    client: openai.OpenAI,
    provider: Model,
    dialect: str,
    status: int,
    type_: str,
    error: type[openai.APIStatusError],
) -> None:
    provider.refuse(status, "The provider says no.", type_=type_)
    with pytest.raises(error) as refused:
        client.chat.completions.create(model=refused_name(dialect, status), messages=said("hi"))
    assert refused.value.request_id
    assert refused.value.message
    assert refused.value.type
    assert bundles.PROVIDER_KEY not in str(refused.value)


@ON_BOTH
def test_a_refusal_before_a_stream_is_the_sdks_exception(
    client: openai.OpenAI, provider: Model, name: str
) -> None:
    provider.refuse(400, "No.", type_="invalid_request_error")
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=name, messages=said("hi"), stream=True)


@pytest.mark.parametrize("dialect", ["openai", "anthropic"], ids="onto-{}".format)
def test_what_the_gateway_tried_the_sdk_does_not_try_again(
    client: openai.OpenAI, provider: Model, dialect: str
) -> None:
    before = len(provider.received)
    provider.refuse(500, "Broken.", type_="api_error")
    patient = client.with_options(max_retries=2)
    with pytest.raises(openai.InternalServerError) as refused:
        patient.chat.completions.create(model=refused_name(dialect, 500), messages=said("hi"))
    assert refused.value.response.headers["x-should-retry"] == "false"
    assert len(provider.received) == before + 1


def test_refusals_of_the_gateways_own(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="gpt-99", messages=said("hi"))
    assert unknown.value.code == "model_not_found"
    assert unknown.value.request_id
    with pytest.raises(openai.AuthenticationError) as stranger:
        client.with_options(api_key="sk-rs-wrong").chat.completions.create(
            model=GPT, messages=said("hi")
        )
    assert stranger.value.code == "invalid_api_key"
    with pytest.raises(openai.BadRequestError) as bad:
        client.chat.completions.create(model=BUDGET, messages=said("hi"), n=2)
    assert bad.value.param == "n"
