"""The stock OpenAI SDK against the real sidecar: a completion, a stream, models, clear refusals."""

from collections.abc import Iterator

import openai
import pytest

from runestone_contract.config import Policy, Pool, Rule, Target
from runestone_testing import bundles
from runestone_testing.echo import Echo, running_echo
from runestone_testing.sidecar import Sidecar, running_sidecar, wait_until

MESSAGES: list = [{"role": "user", "content": "hello"}]  # type: ignore[type-arg]


@pytest.fixture(scope="module")
def echo() -> Iterator[Echo]:
    with running_echo() as found:
        yield found


@pytest.fixture(scope="module")
def sidecar(echo: Echo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sidecar]:
    root = tmp_path_factory.mktemp("bundle")
    bundles.publish(
        root,
        bundles.config(
            keys=(
                bundles.key(),
                bundles.key("picky", secret="sk-rs-test-picky-0123456789", allowed_models=["x*"]),
            ),
            pools=(
                Pool(
                    id="shop/pool",
                    providers=(bundles.provider(echo.url, models=("gpt-4o-mini", "xl")),),
                ),
            ),
            policy=Policy(
                id="shop/p",
                default=True,
                rules=(Rule(name="all", targets=(Target(pool="shop/pool"),)),),
                aliases={"fast": "gpt-4o-mini"},
            ),
        ),
    )
    with running_sidecar(root, root) as found:
        yield found


@pytest.fixture
def client(sidecar: Sidecar) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=sidecar.base_url, api_key=bundles.CLIENT_KEY, max_retries=0
    ) as found:
        yield found


def test_a_completion(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="fast", messages=MESSAGES)
    reply = raw.parse()
    assert reply.choices[0].message.content == (
        f"gpt-4o-mini at /v1/chat/completions by {bundles.PROVIDER_KEY}"
    )
    assert reply.usage is not None
    assert reply.usage.total_tokens == 12
    assert raw.headers["x-runestone-provider"] == "shop/pool/main"
    assert raw.headers["x-runestone-attempts"] == "1"
    assert raw.headers["x-request-id"].startswith("req_")


def test_a_stream(client: openai.OpenAI) -> None:
    stream = client.chat.completions.create(model="fast", messages=MESSAGES, stream=True)
    text = "".join(event.choices[0].delta.content or "" for event in stream)
    assert text.startswith("gpt-4o-mini at ")


def test_the_models_of_this_key(client: openai.OpenAI, sidecar: Sidecar) -> None:
    assert [model.id for model in client.models.list()] == ["fast", "gpt-4o-mini", "xl"]
    assert client.models.retrieve("xl").id == "xl"
    picky = client.with_options(api_key="sk-rs-test-picky-0123456789")
    assert [model.id for model in picky.models.list()] == ["xl"]
    with pytest.raises(openai.NotFoundError):
        picky.models.retrieve("gpt-4o-mini")


def test_a_wrong_key_is_a_clear_401(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as refused:
        client.with_options(api_key="sk-rs-wrong").chat.completions.create(
            model="fast", messages=MESSAGES
        )
    assert refused.value.code == "invalid_api_key"
    assert "Incorrect API key" in refused.value.message


@pytest.mark.parametrize(
    ("body", "param"),
    [
        pytest.param({"model": ["a"]}, "model", id="A8-model-a-list"),
        pytest.param({"model": ""}, "model", id="model-empty"),
        pytest.param({"messages": "hi"}, "messages", id="A8-messages-a-string"),
        pytest.param({"messages": []}, "messages", id="messages-empty"),
        pytest.param({"messages": [{"content": "x"}]}, "messages[0]", id="no-role"),
        pytest.param({"stream": "true"}, "stream", id="A8-stream-a-string"),
        pytest.param({"max_tokens": -1}, "max_tokens", id="A8-negative"),
        pytest.param({"max_tokens": True}, "max_tokens", id="a-boolean-is-no-number"),
        pytest.param({"n": 10**9 * 5}, "n", id="A8-huge"),
        pytest.param({"tools": {}}, "tools", id="tools-an-object"),
        pytest.param({"stream_options": []}, "stream_options", id="stream-options-a-list"),
    ],
)
def test_a_400_names_the_param(client: openai.OpenAI, body: dict[str, object], param: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model="fast", messages=MESSAGES, extra_body=body)
    assert refused.value.param == param


def test_an_unknown_model_is_a_404(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="gpt-99", messages=MESSAGES)
    assert refused.value.code == "model_not_found"


def test_no_secret_is_in_the_log_and_every_line_is_json(
    client: openai.OpenAI, sidecar: Sidecar
) -> None:
    request_id = "find-me-1"
    client.chat.completions.create(
        model="fast", messages=MESSAGES, extra_headers={"x-request-id": request_id}
    )
    line = wait_until(
        "the request is logged",
        lambda: [each for each in sidecar.lines() if each.get("request_id") == request_id],
    )[0]
    assert line["api_key"] == "shop/app"
    assert line["provider"] == "shop/pool/main"
    assert (line["input_tokens"], line["output_tokens"]) == (7, 5)
    text = sidecar.log.read_text()
    assert bundles.CLIENT_KEY not in text
    assert bundles.PROVIDER_KEY not in text
    assert "hello" not in text


def test_metrics_count_requests_tokens_and_cost(client: openai.OpenAI, sidecar: Sidecar) -> None:
    client.chat.completions.create(model="xl", messages=MESSAGES)
    who = {"api_key": "shop/app", "model": "xl", "provider": "shop/pool/main"}
    assert sidecar.metric("runestone_requests_total", **who, status="200") == 1
    assert sidecar.metric("runestone_tokens_total", **who, direction="input") == 7
    assert sidecar.metric("runestone_tokens_total", **who, direction="output") == 5
    cost_usd = (7 * 150_000 + 5 * 600_000) / 1e12
    assert sidecar.metric("runestone_cost_usd_total", **who) == pytest.approx(cost_usd)
    where = {"model": "xl", "provider": "shop/pool/main"}
    assert sidecar.metric("runestone_request_duration_seconds_count", **where) == 1
    assert sidecar.metric("runestone_requests_in_flight") == 0
    assert bundles.CLIENT_KEY not in sidecar.get("/metrics")[1]


def test_client_text_makes_no_series(client: openai.OpenAI, sidecar: Sidecar) -> None:
    def series() -> int:
        return sum(not line.startswith("#") for line in sidecar.get("/metrics")[1].splitlines())

    with pytest.raises(openai.NotFoundError):
        client.chat.completions.create(model="nonsense-0", messages=MESSAGES)
    before = series()
    for number in range(20):
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model=f"nonsense-{number}", messages=MESSAGES)
    assert series() == before


def test_health_needs_no_key_and_tells_no_secret(sidecar: Sidecar) -> None:
    for path in ("/health/live", "/health/ready", "/health/config", "/health/providers"):
        status, body = sidecar.get(path)
        assert status == 200, path
        assert bundles.PROVIDER_KEY not in str(body)
