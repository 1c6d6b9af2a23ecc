"""`runestone run`, called the way its greeting says: with curl, with the OpenAI SDK."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING, Any

import openai
import pytest

from runestone_testing.run_command import Gateway, running_gateway, running_llmock
from runestone_testing.shop import CLIENT_KEY, Shop, make_shop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def llmock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_llmock(tmp_path_factory.mktemp("llmock")) as url:
        yield url


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, llmock: str) -> Shop:
    shop = make_shop(tmp_path_factory.mktemp("files") / "shop", provider=llmock)
    shop.write(
        "claude.yaml",
        f"""\
        apiVersion: runestone.dev/v1alpha1
        kind: ProviderPool
        metadata: {{name: claude}}
        spec:
          providers:
          - name: demo
            type: Anthropic
            baseURL: {llmock}/anthropic
            credentials: [{{secretRef: {{name: keys, key: provider}}}}]
            models: [{{name: claude-3-5-sonnet, upstreamName: claude-3-5-sonnet-20241022}}]
        """,
    )
    shop.edit("policy.yaml", "    - pool: pool", "    - pool: pool\n    - pool: claude")
    return shop


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory, shop: Shop) -> Iterator[Gateway]:
    with running_gateway(tmp_path_factory.mktemp("run"), "-f", str(shop), "--show-key") as found:
        yield found


@pytest.fixture
def client(gateway: Gateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=gateway.base_url, api_key=CLIENT_KEY, max_retries=0) as found:
        yield found


@pytest.mark.parametrize(
    ("model", "provider"),
    [
        pytest.param("gpt-4o", "default/pool/demo", id="OpenAI dialect"),
        pytest.param("claude-3-5-sonnet", "default/claude/demo", id="Anthropic dialect"),
        pytest.param("smart", "default/pool/demo", id="alias"),
    ],
)
def test_a_completion_and_a_stream(client: openai.OpenAI, model: str, provider: str) -> None:
    raw = client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
    answer = raw.parse()
    assert raw.headers["x-runestone-provider"] == provider
    assert answer.choices[0].message.content
    assert answer.usage
    assert answer.usage.completion_tokens > 0

    with client.chat.completions.create(model=model, messages=HELLO, stream=True) as stream:
        chunks = list(stream)
    words = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(words)
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_the_models_of_the_key(client: openai.OpenAI) -> None:
    assert {model.id for model in client.models.list()} == {
        "claude-3-5-sonnet",
        "gpt-4o",
        "gpt-4o-mini",
        "smart",
    }


def test_a_wrong_key_is_a_clear_401(gateway: Gateway) -> None:
    with (
        openai.OpenAI(base_url=gateway.base_url, api_key="sk-wrong", max_retries=0) as wrong,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        wrong.chat.completions.create(model="gpt-4o", messages=HELLO)

    assert refused.value.code == "invalid_api_key"


def pasted(text: str, first_line: str, last_line: str) -> str:
    """A command of the greeting, as somebody marks it with the mouse."""
    found = re.search(rf"^{first_line}.*?{last_line}$", text, re.M | re.S)
    assert found, text
    return found[0]


def run_in_shell(command: str, **env: str) -> str:
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
        env=os.environ | env,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_curl_line_works_as_pasted(gateway: Gateway) -> None:
    said = run_in_shell(pasted(gateway.text, "curl ", "'"))

    assert '"object":"chat.completion"' in said
    assert '"model":"claude-3-5-sonnet"' in said, "the first model of the first file"


def test_the_sdk_snippet_works_as_pasted(gateway: Gateway) -> None:
    assert run_in_shell(pasted(gateway.text, r"\S*python\S* - <<'END'", "END")).strip()


def test_a_generated_key_stays_out_of_the_output_and_the_lines_work(
    shop: Shop, tmp_path: Path, llmock: str
) -> None:
    own = make_shop(tmp_path / "own", provider=llmock)
    own.edit("key.yaml", "  secretRef: {name: keys, key: client}\n", "")
    with running_gateway(tmp_path, "-f", str(own)) as gateway:
        key = (tmp_path / "state" / "keys" / "default" / "app").read_text().strip()
        assert '"chat.completion"' in run_in_shell(pasted(gateway.text, "curl ", "'"))
        assert run_in_shell(pasted(gateway.text, r"\S*python\S* - <<'END'", "END")).strip()

    assert key not in (tmp_path / "run.log").read_text()


def test_an_environment_is_enough(tmp_path: Path, llmock: str) -> None:
    mine = "sk-mine-0123456789012345"
    env = {
        "OPENAI_API_KEY": "sk-canary-openai",
        "OPENAI_BASE_URL": f"{llmock}/v1",
        "ANTHROPIC_API_KEY": "sk-ant-canary",
        "ANTHROPIC_BASE_URL": f"{llmock}/anthropic",
        "RUNESTONE_API_KEY": mine,
        "MAX_CONCURRENT_PER_TENANT": "4",
    }
    with running_gateway(tmp_path, **env) as gateway:
        curl = pasted(gateway.text, "curl ", "'")
        assert '"model":"gpt-4o"' in run_in_shell(curl, RUNESTONE_API_KEY=mine)
        with openai.OpenAI(base_url=gateway.base_url, api_key=mine, max_retries=0) as client:
            answer = client.chat.completions.create(model="claude-3-5-haiku", messages=HELLO)
        assert "claude-3-5-haiku" in answer.model

    said = (tmp_path / "run.log").read_text()
    assert mine not in said
    assert "canary" not in said
