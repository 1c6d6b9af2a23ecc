"""What the log says of a refused request: enough to act on, and nothing secret."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from runestone_contract.config import Policy, Rule, Target
from runestone_testing import bundles
from runestone_testing import provider as scripts
from runestone_testing.echo import completion
from runestone_testing.gateway import gateway
from runestone_testing.provider import json_reply

if TYPE_CHECKING:
    from pathlib import Path

ASKED = {"max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}
REFUSAL = json_reply(
    {"type": "error", "error": {"type": "invalid_request_error", "message": "no"}}, status=400
)


async def line_of(
    root: Path, capfd: pytest.CaptureFixture[str], path: str, model: str
) -> dict[str, Any]:
    async with scripts.Provider(REFUSAL) as one:
        config = bundles.config(bundles.provider(one.url.removesuffix("/v1"), dialect="Anthropic"))
        async with gateway(root, config) as found:
            await found.client.post(path, json={**ASKED, "model": model})
    (line,) = capfd.readouterr().out.splitlines()
    read: dict[str, Any] = json.loads(line)
    return read


@pytest.mark.parametrize(
    ("model", "logged"),
    [
        pytest.param("gpt-9", "gpt-9", id="named"),
        pytest.param("m" * 150, "m" * 100, id="cut"),
        pytest.param("sk-rs-0123456789abcdef", "sk-rs-01…", id="masked"),
    ],
)
async def test_a_model_that_is_not_there_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], model: str, logged: str
) -> None:
    line = await line_of(tmp_path, capfd, "/chat/completions", model)
    assert (line["status"], line["error"], line["model"]) == (404, "model_not_found", logged)


async def test_a_key_asked_for_as_a_model_is_masked_where_a_rule_takes_any(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with scripts.Provider(json_reply(completion("fine"))) as one:
        config = bundles.config(bundles.provider(f"{one.url}/v1"))
        rule = Rule(name="any", targets=(Target(pool="shop/pool", model="gpt-4o-mini"),))
        policy = Policy(id="shop/-", default=True, rules=(rule,))
        async with gateway(tmp_path, config.model_copy(update={"policies": (policy,)})) as found:
            answer = await found.chat(model="sk-rs-0123456789abcdef")
    assert answer.status_code == 200
    assert json.loads(capfd.readouterr().out)["model"] == "sk-rs-01…"


@pytest.mark.parametrize("path", ["/chat/completions", "/messages"])
async def test_a_providers_refusal_is_called_by_its_kind(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], path: str
) -> None:
    line = await line_of(tmp_path, capfd, path, "gpt-4o-mini")
    assert (line["status"], line["error"]) == (400, "invalid_request_error")


TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    "path",
    ["/chat/completions", "/messages", "/moderations"],
    ids=["as-it-is", "translated", "handed-on"],
)
async def test_a_trace_goes_on_to_the_provider_and_into_the_log(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], path: str
) -> None:
    context = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01", "tracestate": "vendor=1"}
    async with scripts.Provider(REFUSAL) as one:
        async with gateway(tmp_path, bundles.config(bundles.provider(f"{one.url}/v1"))) as found:
            asked = {"input": "hello"} if path == "/moderations" else ASKED
            asked = {**asked, "model": "gpt-4o-mini"}
            await found.client.post(path, json=asked, headers=context)
            await found.client.post(path, json=asked, headers={"traceparent": "00-junk"})
        traced, untraced = one.requests
    assert context.items() <= dict(traced.headers).items()
    assert not {"traceparent", "tracestate"} & dict(untraced.headers).keys()
    first, second = map(json.loads, capfd.readouterr().out.splitlines())
    assert first["trace_id"] == TRACE
    assert "trace_id" not in second
